//! Everything that takes more than one crate to test, in one binary: the shape of the house, other people's
//! implementations beside ours, and calls over real sockets.
#![expect(clippy::unwrap_used, reason = "a test file: a panic is a failed test")]

mod architecture;
mod bot_http;
mod bot_stream;
mod bot_twilio;
mod browser;
mod call;
mod clients;
mod deploy;
mod house;
mod keeping;
mod leak;
mod money;
mod outage;
mod pairs;
mod realtime;
mod realtime_sdk;
mod script_bot;
mod signature_interop;
mod speech;
mod stage;
mod webrtc;
