//! [`place`]: one telephone call, as Twilio would place it.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, StatusCode, Uri};
use bytes::Bytes;
use patchbay_core::Refusal;
use patchbay_sim::twilio::{Config, Ending, Step, TwilioDouble};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use super::report::Report;
use super::twiml::{BadTwiml, Verb, verbs};
use crate::api::twilio::signature;
use crate::cli::stage::Stage;
use crate::form;
use crate::transport::{BadUrl, DialSpec, Dialer, FetchSpec, PortLimits};

/// TwiML documents that one call may ask for.
const DOCUMENTS_MAX: usize = 8;
/// Twilio waits this long for a webhook.
const WEBHOOK_WITHIN: Duration = Duration::from_secs(15);
/// Twilio waits this long for a stream to open.
const STREAM_WITHIN: Duration = Duration::from_secs(10);
/// The header that carries Twilio's signature.
const SIGNATURE: HeaderName = HeaderName::from_static("x-twilio-signature");

/// What is called, and what the caller does.
#[derive(Clone, Debug)]
pub struct CallPlan {
    /// The voice webhook.
    pub url: String,
    /// What the caller says, µ-law at 8 kHz.
    pub speech: Bytes,
    /// What the caller interrupts the answer with, and after how many milliseconds of it.
    pub barge_in: Option<(u64, Bytes)>,
    /// How long a greeting is waited for, in milliseconds.
    pub greeting_ms: u64,
    /// How long an answer is waited for, in milliseconds.
    pub answer_ms: u64,
    /// The account's auth token, to sign requests with.
    pub auth_token: Option<SecretString>,
    /// The caller's number.
    pub from: String,
    /// The number called.
    pub to: String,
    /// The account.
    pub account_sid: String,
}

impl CallPlan {
    /// A caller who waits 3 s for a greeting and 15 s for an answer, without a signature.
    #[must_use]
    pub fn new(url: &str, speech: Bytes) -> Self {
        Self {
            url: url.to_owned(),
            speech,
            barge_in: None,
            greeting_ms: 3_000,
            answer_ms: 15_000,
            auth_token: None,
            from: "+15005550006".into(),
            to: "+15005550001".into(),
            account_sid: "AC00000000000000000000000000000001".into(),
        }
    }

    /// Lets a greeting end, speaks, lets the answer begin, interrupts it if that is asked for, lets it end, hangs up.
    fn script(&self) -> Vec<Step> {
        let mut script = vec![
            Step::WaitForAudio { at_most_ms: self.greeting_ms },
            Step::WaitForSilence { ms: 700, at_most_ms: 20_000 },
            Step::Say(self.speech.clone()),
        ];
        if let Some((after_ms_of_model_speech, audio)) = self.barge_in.clone() {
            script.push(Step::WaitForAudio { at_most_ms: self.answer_ms });
            script.push(Step::BargeIn { after_ms_of_model_speech, audio });
        }
        script.extend([
            Step::WaitForAudio { at_most_ms: self.answer_ms },
            Step::WaitForSilence { ms: 1_500, at_most_ms: 60_000 },
            Step::HangUp,
        ]);
        script
    }
}

/// Why a call did not come about. Not speaking back is no error: the report tells.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Not an `http://` or `https://` URL.
    #[error("not an http:// or https:// URL: {0}")]
    BadUrl(String),
    /// The webhook gave no answer.
    #[error("the webhook gave no answer: {0:?}")]
    Webhook(Refusal),
    /// The webhook answered with an error.
    #[error("the webhook answered {0}")]
    Status(StatusCode),
    /// The webhook answered something else.
    #[error(transparent)]
    BadTwiml(#[from] BadTwiml),
    /// The TwiML ended the call before a stream was opened.
    #[error("the TwiML opens no stream")]
    NoStream,
    /// The address in `<Stream>` cannot be dialled.
    #[error("the TwiML's stream address is {0}")]
    BadStreamUrl(#[from] BadUrl),
    /// The stream was not accepted.
    #[error("the stream was refused: {0:?}")]
    Stream(Refusal),
}

impl CallError {
    /// Whether the user, and not the called side, is to do something else.
    #[must_use]
    pub fn is_wrong_use(&self) -> bool {
        matches!(self, Self::BadUrl(_))
    }
}

/// Places the call and waits for its end. `watch` sees the caller after each of its turns.
///
/// # Errors
/// [`CallError`] when no stream was opened.
pub async fn place(plan: &CallPlan, watch: impl FnMut(&TwilioDouble)) -> Result<Report, CallError> {
    let call = Placed { plan, dialer: Dialer::new(), call_sid: sid("CA"), began: Instant::now() };
    call.run(watch).await
}

struct Placed<'p> {
    plan: &'p CallPlan,
    dialer: Dialer,
    call_sid: String,
    began: Instant,
}

impl Placed<'_> {
    /// Follows the TwiML until the caller hangs up, the TwiML ends the call, or nobody could want more of it.
    async fn run(&self, mut watch: impl FnMut(&TwilioDouble)) -> Result<Report, CallError> {
        let mut report: Option<Report> = None;
        let mut url = Some(self.plan.url.clone());
        for _ in 0..DOCUMENTS_MAX {
            let Some(ask) = url.take() else { break };
            let document =
                match self.ask(&ask, if report.is_some() { "in-progress" } else { "ringing" }).await {
                    Ok(document) => document,
                    // What happens after the stream is of the called side's making, and in the report.
                    Err(_) if report.is_some() => break,
                    Err(error) => return Err(error),
                };
            let webhook = self.began.elapsed();
            for verb in document {
                match verb {
                    Verb::Stream { url, parameters } => {
                        let streamed = self.stream(&url, parameters, &mut watch, webhook).await?;
                        let is_hung_up = streamed.ending == Some(Ending::HungUp);
                        report = Some(report.map_or(streamed.clone(), |first| first.followed_by(&streamed)));
                        if is_hung_up {
                            return report.ok_or(CallError::NoStream);
                        }
                    }
                    Verb::Redirect { url: next } => {
                        url = Some(absolute(&ask, &next));
                        break;
                    }
                    Verb::Hangup => return report.ok_or(CallError::NoStream),
                }
            }
        }
        report.ok_or(CallError::NoStream)
    }

    async fn ask(&self, url: &str, status: &str) -> Result<Vec<Verb>, CallError> {
        let uri: Uri = url.parse().map_err(|_| CallError::BadUrl(url.to_owned()))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
            return Err(CallError::BadUrl(url.to_owned()));
        }
        let pairs = self.form(status);
        let body = form::encode(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let mut spec = FetchSpec { within: WEBHOOK_WITHIN, ..FetchSpec::post_form(uri, body) };
        if let Some(signature) = self.signature(url, &pairs) {
            spec.headers.insert(SIGNATURE, signature);
        }
        let answer = self.dialer.fetch(spec).await.map_err(CallError::Webhook)?;
        if !answer.status.is_success() {
            return Err(CallError::Status(answer.status));
        }
        Ok(verbs(&String::from_utf8_lossy(&answer.body))?)
    }

    /// What Twilio sends with a voice webhook.
    fn form(&self, status: &str) -> Vec<(String, String)> {
        let CallPlan { from, to, account_sid, .. } = self.plan;
        [
            ("CallSid", self.call_sid.as_str()),
            ("AccountSid", account_sid),
            ("From", from),
            ("To", to),
            ("Caller", from),
            ("Called", to),
            ("CallStatus", status),
            ("Direction", "inbound"),
            ("ApiVersion", "2010-04-01"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    fn signature(&self, url: &str, pairs: &[(String, String)]) -> Option<HeaderValue> {
        let token = self.plan.auth_token.as_ref()?;
        HeaderValue::from_str(&signature::sign(token.expose_secret(), url, pairs)).ok()
    }

    async fn stream(
        &self,
        url: &str,
        custom_parameters: BTreeMap<String, String>,
        watch: impl FnMut(&TwilioDouble),
        webhook: Duration,
    ) -> Result<Report, CallError> {
        let mut spec = DialSpec::new(url)?;
        spec.within = STREAM_WITHIN;
        spec.limits = PortLimits::PUBLIC;
        if let Some(signature) = self.signature(url, &[]) {
            spec = spec.header(SIGNATURE, signature);
        }
        let port = self.dialer.dial(&spec).await.map_err(CallError::Stream)?;
        let setup = self.began.elapsed();
        let config = Config {
            stream_sid: sid("MZ"),
            call_sid: self.call_sid.clone(),
            account_sid: self.plan.account_sid.clone(),
            custom_parameters,
            ..Config::default()
        };
        let double = TwilioDouble::new(config, self.plan.script());
        let double = Stage::new(double, port).play(watch).await;
        Ok(Report::of(self.plan, &self.call_sid, &double, webhook, setup))
    }
}

/// A redirect may be relative to the document it stands in (RFC 3986 §5); an absolute path is as far as we go.
fn absolute(document: &str, next: &str) -> String {
    let origin_end = document.match_indices('/').nth(2).map_or(document.len(), |(at, _)| at);
    if next.starts_with('/') { format!("{}{next}", &document[..origin_end]) } else { next.to_owned() }
}

/// A fresh id of Twilio's shape.
fn sid(prefix: &str) -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    bytes.iter().fold(prefix.to_owned(), |sid, byte| format!("{sid}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_redirect_stays_on_the_host() {
        assert_eq!(absolute("http://h:1/a/b", "/resume"), "http://h:1/resume");
        assert_eq!(absolute("http://h:1", "/resume"), "http://h:1/resume");
        assert_eq!(absolute("http://h:1/a", "https://k/r"), "https://k/r");
    }
}
