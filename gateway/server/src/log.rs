//! Logs: one JSON object a line, or text on a terminal. What may not be logged cannot be: see [`crate::secret`].

use std::io::IsTerminal;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::config::{LogFormat, Server};

/// Starts logging to standard error. A second call changes nothing.
pub fn start(server: &Server) {
    let filter: Targets = server.log_level.parse().expect("the configuration's filter was parsed");
    let json = match server.log_format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    let layer = if json {
        fmt::layer().json().flatten_event(true).with_current_span(false).with_writer(std::io::stderr).boxed()
    } else {
        fmt::layer().with_target(false).with_writer(std::io::stderr).boxed()
    };
    // Only the first subscriber of a process can be set; a demo inside of a test is the second.
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
}
