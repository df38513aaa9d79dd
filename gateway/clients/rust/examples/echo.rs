//! A bot that says back what it hears, for a minute. PATCHBAY_URL, PATCHBAY_BOT and PATCHBAY_KEY (a file) say where and who.

use std::env::var;
use std::error::Error;
use std::time::{Duration, Instant};

use patchbay_bot::{Bot, BotKey, IncomingCall, Level, OPUS, Options, Wish};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let key = BotKey::read(var("PATCHBAY_KEY")?)?;
    // The gateway's public URL, if PATCHBAY_URL is another.
    let options = Options { audience: var("PATCHBAY_AUDIENCE").ok(), ..Options::default() };
    let bot = Bot::new(&var("PATCHBAY_URL")?, &var("PATCHBAY_BOT")?, key, options)?;
    bot.register_with_discovery(Wish { capabilities: vec!["echo".into()], ..Wish::default() }).await?;
    println!("ready");
    while let Some(incoming) = bot.next_call().await {
        let bot = bot.clone();
        tokio::spawn(async move { println!("over {:?}", echo(bot, incoming).await) });
    }
    Ok(())
}

async fn echo(bot: Bot, incoming: IncomingCall) -> Result<(), patchbay_bot::Error> {
    let caller = bot.verify_human_attestation(&incoming.ticket, Level::None, Some(&incoming.call_id)).await?;
    let call = bot.accept_call(&incoming, OPUS).await?;
    println!("call {} {:?}", call.call_id(), caller.level);
    let seconds = var("PATCHBAY_ECHO_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(60);
    let (ends, mut packets) = (Instant::now() + Duration::from_secs(seconds), call.receive_audio_opus());
    while let Some(packet) = packets.next().await {
        call.send_audio_opus(packet?.payload).await?;
        if Instant::now() > ends {
            call.clear().await?;
            call.hangup().await?;
        }
    }
    Ok(())
}
