//! [`Seeking`]: finding the bot that takes a call, and meeting it.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use patchbay_core::{Format, Refusal};

use crate::transport::{BotPort, Carrier, Meetings, Occasion};

/// A bot took the call, in these formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// What it receives.
    pub receive: Format,
    /// What it sends.
    pub send: Format,
}

/// Who knows the bots.
pub trait Finder: Send + Sync {
    /// Offers the call to one instance after the other, until one takes it. Dropping the future takes the offer back.
    fn call(&self) -> BoxFuture<'static, Result<Accepted, Refusal>>;
    /// The call is over.
    fn ended(&self, reason: &'static str);
}

/// A call that looks for its bot.
#[derive(Clone)]
pub struct Seeking {
    /// Who is asked.
    pub finder: Arc<dyn Finder>,
    /// Where the bot's requests will find the call.
    pub meetings: Arc<Meetings>,
    /// `call_…`
    pub call: Box<str>,
    /// Whose.
    pub tenant: Box<str>,
    /// The bot's name.
    pub bot: Box<str>,
}

impl Seeking {
    /// Asks, and opens the meeting with whoever takes the call.
    pub fn seek(&self) -> impl Future<Output = Result<Carrier, Refusal>> + Send + use<> {
        let (asking, this) = (self.finder.call(), self.clone());
        self.meetings.expect(&self.call);
        async move {
            let asked = asking.await;
            this.meetings.expect_no_more(&this.call);
            let Accepted { receive, send } = asked?;
            let occasion = Occasion { call: this.call, tenant: this.tenant, bot: this.bot, receive, send };
            let port: BotPort = this.meetings.open(occasion);
            Ok(Carrier::Bot(Box::new(port)))
        }
    }

    /// The call is over.
    pub fn ended(&self, reason: &'static str) {
        self.meetings.expect_no_more(&self.call);
        self.finder.ended(reason);
    }
}

impl fmt::Debug for Seeking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seeking({})", self.bot)
    }
}
