//! What the directory of bots costs at 100,000 leases: registrations and look-ups a second on one core, bytes a lease.
//!
//! `cargo run --release -p patchbay-core --example directory_cost`
#![expect(clippy::disallowed_methods, reason = "a measurement needs a clock")]

use std::hint::black_box;
use std::time::Duration;

use patchbay_core::{BotId, Directory, Format, Instant, LeaseId, Registration};

const LEASES: u32 = 100_000;

fn main() {
    let before = resident_kib();
    let mut directory = Directory::default();
    let ids: Vec<_> = (0..LEASES).map(bot).collect();
    let named = resident_kib();
    let filled = rate(|n| register(&mut directory, &ids, n));
    let full = resident_kib();
    let renewed = rate(|n| register(&mut directory, &ids, n));
    let found = rate(|n| assert!(black_box(directory.lookup(&ids[n as usize])).is_some()));
    let both = 1.0 / (1.0 / renewed + 1.0 / found);
    println!("leases            {}", directory.len());
    println!("registered        {filled:.0}/s");
    println!("renewed           {renewed:.0}/s");
    println!("looked up         {found:.0}/s");
    println!("renew + look up   {both:.0} pairs/s");
    let bytes = |kib: u64| kib * 1024 / u64::from(LEASES);
    println!(
        "bytes a lease     {} besides the bot's id, {} with it",
        bytes(full - named),
        bytes(full - before)
    );
}

fn bot(n: u32) -> BotId {
    BotId::new("tenant", &format!("bot-{n}")).expect("a name in small letters")
}

/// In an order that is none, as bots come: 7,919 is prime, so that each is there once.
fn register(directory: &mut Directory, ids: &[BotId], n: u32) {
    let scattered = n * 7919 % LEASES;
    let registration = Registration {
        bot: ids[scattered as usize].clone(),
        instance: "instance_0123456789abcdef0123456789abcdef".into(),
        capabilities: "echo en booking".into(),
        formats: [Format::OPUS, Format::PCMU, Format::L16_24K].into(),
        capacity: 10,
        ttl: Duration::from_secs(300),
        is_draining: false,
    };
    let fresh = LeaseId(u128::from(scattered).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835));
    let now = Instant::from_micros(u64::from(n));
    let leased = directory.register(registration, fresh, now, &mut Vec::new());
    black_box(leased).expect("there is room");
}

fn rate(mut operation: impl FnMut(u32)) -> f64 {
    let began = std::time::Instant::now();
    (0..LEASES).for_each(&mut operation);
    f64::from(LEASES) / began.elapsed().as_secs_f64()
}

/// Of this process (proc(5), `VmRSS`); 0 where there is no such file.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or_default()
}
