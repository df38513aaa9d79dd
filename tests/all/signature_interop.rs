//! Our Twilio signatures beside Twilio's own validators for Node and Python: who is right is not ours to say.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::thread;

use patchbay::api::twilio::signature::{Signed, sign, verify};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde::{Deserialize, Serialize};

use crate::house;

/// A request as Twilio would sign it, and the signature that came with it.
#[derive(Clone, Debug, Serialize)]
struct Question {
    token: String,
    url: String,
    params: Vec<(String, String)>,
    signature: String,
}

/// What a validator of Twilio's says to it.
#[derive(Debug, Deserialize)]
struct Answer {
    /// The signature that it computes over exactly that URL.
    expected: String,
    /// Whether it would let the request in.
    valid: bool,
}

impl Question {
    fn signed(token: &str, url: &str, params: Vec<(String, String)>) -> Self {
        let signature = sign(token, url, &params);
        Self { token: token.into(), url: url.into(), params, signature }
    }

    fn is_valid_to_us(&self) -> bool {
        verify([self.token.as_str()], &Signed::form(&self.url, &self.params), Some(&self.signature))
    }
}

/// One of Twilio's validators: a program that answers a line with a line.
struct Validator {
    name: &'static str,
    program: String,
    script: &'static str,
}

impl Validator {
    /// Both, or advice where they are not installed.
    fn all() -> [Self; 2] {
        let interop = house::root().join("tests/interop");
        let python = interop.join(".venv/bin/python");
        for needed in [&python, &interop.join("node_modules/twilio")] {
            assert!(needed.exists(), "{} is missing: run `bash tests/setup.sh test`", needed.display());
        }
        let python = python.to_str().expect("the repository lies at a UTF-8 path").to_owned();
        [
            Self { name: "npm", program: "node".into(), script: "tests/interop/twilio_signature.mjs" },
            Self { name: "PyPI", program: python, script: "tests/interop/twilio_signature.py" },
        ]
    }

    /// Its answers, in the order of the questions.
    fn ask(&self, questions: &[Question]) -> Vec<Answer> {
        let mut child = Command::new(&self.program)
            .arg(self.script)
            .current_dir(house::root())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}: run `bash tests/setup.sh test`", self.program));
        let mut stdin = child.stdin.take().expect("standard input was piped above");
        let lines: String = questions.iter().map(|q| serde_json::to_string(q).unwrap() + "\n").collect();
        let writer = thread::spawn(move || stdin.write_all(lines.as_bytes()));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap().expect("the validator reads every question");
        assert!(output.status.success(), "{} failed: {}", self.name, output.status);
        let text = String::from_utf8(output.stdout).unwrap();
        let answers: Vec<_> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(answers.len(), questions.len(), "{} answers each question", self.name);
        answers
    }
}

#[test]
fn a_thousand_random_requests_get_the_signature_that_twilio_computes() {
    let questions = random_questions(1_000);
    for validator in Validator::all() {
        for (question, answer) in questions.iter().zip(validator.ask(&questions)) {
            assert_eq!(question.signature, answer.expected, "{} on {question:?}", validator.name);
            assert!(answer.valid, "{} refuses {question:?}", validator.name);
            assert!(question.is_valid_to_us(), "we refuse {question:?}");
        }
    }
}

#[test]
fn a_thousand_forged_requests_are_refused_by_all() {
    let forged: Vec<_> = random_questions(1_000).into_iter().enumerate().map(forge).collect();
    for validator in Validator::all() {
        for (question, answer) in forged.iter().zip(validator.ask(&forged)) {
            assert!(!answer.valid, "{} lets in {question:?}", validator.name);
            assert!(!question.is_valid_to_us(), "we let in {question:?}");
        }
    }
}

#[test]
fn a_signature_with_or_without_the_default_port_is_let_in_by_all() {
    let params = || vec![("CallSid".to_owned(), "CA1234567890ABCDE".to_owned())];
    let forms = [
        ("https://voice.example.com/twilio/voice/a/b", "https://voice.example.com:443/twilio/voice/a/b"),
        ("https://voice.example.com:8443/twilio/voice/a/b", "https://voice.example.com/twilio/voice/a/b"),
        ("http://voice.example.com/twilio/voice/a/b", "http://voice.example.com:80/twilio/voice/a/b"),
    ];
    let questions = forms.map(|(ours, signed_by_twilio)| Question {
        url: ours.into(),
        ..Question::signed("12345", signed_by_twilio, params())
    });
    for validator in Validator::all() {
        for (question, answer) in questions.iter().zip(validator.ask(&questions)) {
            assert!(answer.valid, "{} refuses {question:?}", validator.name);
            assert!(question.is_valid_to_us(), "we refuse {question:?}");
        }
    }
}

/// The same each time, so that a failure is seen again.
fn random_questions(count: usize) -> Vec<Question> {
    let mut runner = TestRunner::deterministic();
    let strategy = question();
    (0..count)
        .map(|_| strategy.new_tree(&mut runner).expect("no filter refuses everything").current())
        .collect()
}

fn question() -> impl Strategy<Value = Question> {
    // JavaScript sorts by UTF-16 unit and Python by code point: past U+D7FF the two differ from each other.
    let value = "[ -~\u{80}-\u{D7FF}\n\r\t]{0,24}";
    let name = prop_oneof!["[A-Z][A-Za-z]{0,14}", "[a-z_]{1,6}[0-9]{0,2}", Just("Digits".to_owned())];
    let params = prop::collection::vec((name, value), 0..20);
    (token(), url(), params).prop_map(|(token, url, params)| Question::signed(&token, &url, params))
}

fn token() -> impl Strategy<Value = String> {
    prop_oneof!["[0-9a-f]{32}", "[ -~]{1,80}"]
}

fn url() -> impl Strategy<Value = String> {
    let query = "(\\?[A-Za-z0-9_=&%+.~-]{1,40})?";
    (
        prop_oneof!["https://", "http://"],
        "[a-z]{1,8}(\\.[a-z]{2,8}){1,2}",
        "(:[1-9][0-9]{3})?",
        "(/[A-Za-z0-9_.~%-]{1,12}){1,4}",
        query,
    )
        .prop_map(|(scheme, host, port, path, query)| [scheme.as_str(), &host, &port, &path, &query].concat())
}

/// The request after somebody touched it: another value, another name, one more, another path, another key, no signature.
fn forge((n, mut question): (usize, Question)) -> Question {
    match n % 6 {
        0 if !question.params.is_empty() => question.params[0].1.push('x'),
        1 if !question.params.is_empty() => question.params[0].0.push('x'),
        2 => question.params.push(("Zebra".into(), "1".into())),
        3 => question.url.push('x'),
        4 => question.signature.clear(),
        _ => question.token.push('x'),
    }
    question
}

/// The URL that was configured, the one that was signed, the parameters, the signature.
type Vector<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str);

/// Twilio's published vectors: twilio-node `spec/validation.spec.js`, twilio-python `tests/unit/test_request_validator.py`,
/// twilio-go `client/request_validator_test.go`.
#[test]
fn the_published_vectors_hold() {
    const URL: &str = "https://mycompany.com/myapp.php?foo=1&bar=2";
    const BODY_HASH: &str = "bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620";
    let usual = [
        ("CallSid", "CA1234567890ABCDE"),
        ("Caller", "+14158675309"),
        ("Digits", "1234"),
        ("From", "+14158675309"),
        ("To", "+18005551212"),
    ];
    let with_reason =
        [usual.as_slice(), &[("ReasonConferenceEnded", "test"), ("Reason", "Participant")]].concat();
    let repeated = [
        ("Sid", "CA123"),
        ("SidAccount", "AC123"),
        ("Digits", "5678"),
        ("Digits", "1234"),
        ("Digits", "1234"),
    ];
    let vectors: [Vector<'_>; 10] = [
        (URL, URL, &usual, "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        (URL, "https://mycompany.com:443/myapp.php?foo=1&bar=2", &usual, "kvajT1Ptam85bY51eRf/AJRuM3w="),
        (
            "http://mycompany.com/myapp.php?foo=1&bar=2",
            "http://mycompany.com:80/myapp.php?foo=1&bar=2",
            &usual,
            "0ZXoZLH/DfblKGATFgpif+LLRf4=",
        ),
        (
            "http://mycompany.com:1234/myapp.php?foo=1&bar=2",
            "http://mycompany.com:1234/myapp.php?foo=1&bar=2",
            &usual,
            "Zmvh+3yNM1Phv2jhDCwEM3q5ebU=",
        ),
        (&format!("{URL}&{BODY_HASH}"), &format!("{URL}&{BODY_HASH}"), &[], "a9nBmqA0ju/hNViExpshrM61xv4="),
        (
            &format!("https://mycompany.com/myapp.php?{BODY_HASH}"),
            &format!("https://mycompany.com/myapp.php?{BODY_HASH}"),
            &[],
            "y77kIzt2vzLz71DgmJGsen2scGs=",
        ),
        (URL, URL, &repeated, "IK+Dwps556ElfBT0I3Rgjkr1wJU="),
        (URL, URL, &with_reason, "vOEb5UThFn24KEfnOFLQY2AE5FY="),
        (
            "https://user:pass@mycompany.com/myapp.php?foo=1&bar=2",
            "https://user:pass@mycompany.com/myapp.php?foo=1&bar=2",
            &usual,
            "CukzLTc1tT5dXEDIHm/tKBanW10=",
        ),
        (URL, URL, &[("property", "value"), ("boolean", "true")], "NBdBDr/T/lgjI+tlgpXjKZQZs/k="),
    ];
    let mut questions = Vec::new();
    for (configured, signed, params, signature) in vectors {
        let params: Vec<_> = params.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        assert_eq!(sign("12345", signed, &params), signature, "{signed}");
        let token = "12345".to_owned();
        questions.push(Question { token, url: configured.into(), params, signature: signature.into() });
    }
    for question in &questions {
        assert!(question.is_valid_to_us(), "{question:?}");
    }
    for validator in Validator::all() {
        for (question, answer) in questions.iter().zip(validator.ask(&questions)) {
            assert!(answer.valid, "{} refuses {question:?}", validator.name);
        }
    }
    // The bug of sorting by name and value glued together (twilio-go has a test of it).
    let wrongly_sorted =
        Question { signature: "95+Bu0JVPi0r/SsESZCVf0dWAjw=".into(), ..questions[7].clone() };
    assert!(!wrongly_sorted.is_valid_to_us());
}
