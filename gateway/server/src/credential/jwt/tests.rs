//! Tokens as an attacker would make them, for each of the four algorithms.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use proptest::prelude::*;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use serde_json::json;
use sha2::Sha256;

use super::*;
use crate::config::JwtKeys;
use crate::credential::verifying_key::{Algorithm, VerifyingKey};
use crate::secret::Secret;

const NOW: u64 = 1_800_000_300;
const SECRET: &str = "a secret of thirty-two bytes or more";
const ISSUER: &str = "https://login.example.com/";

/// Made with a key that was thrown away: `iat` 1800000000, `exp` 1800000600.
const RS256: &str = concat!(
    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6InIxIn0.eyJpc3MiOiJodHRwczovL2xvZ2luLmV4YW1wbGUuY29tLyIsImF1ZCI6InBh",
    "dGNoYmF5Iiwic3ViIjoiYW5uIiwiaWF0IjoxODAwMDAwMDAwLCJleHAiOjE4MDAwMDA2MDB9.wwxpAoP1Gfe734bFxO1WsZdr9RcrqG9H8nEY2g",
    "GhbaC9WSEdWxocFnuAUyA1QyYcfxhVZZiYueFWmBxhOhzGF3AOwJA4pLlBWm3Tuv7KCeX4vIFa9zruovT2aHQZwazwyOmQdmJRA84Bk4PuOZdRKO",
    "Urb93m1-mH7MQP2ihkxbULBlgYdxmr5Xj0h0xWQbcwXaMiKIakJUXVI0-pp0Ru3f0C1_vBMq2N0cmE1A3okEQzxv8HO7m-NDsIrNvP26gDBh7BpF",
    "165VYJ8IQUSEB94nkT7s0Im_MRXwk_95uS-q4xXhfMm3A8bomN5bFp_453FmaLq2Qb-g7z2c9De4nNMQ"
);
const RSA_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA1nru7oaBYwjWFUmf1rrV
pQtnDSQf6sm0S8ok131sau3876Q5VqxXJJzQlMuXuEeczsylkPYN+sVOFIYBLj6K
JbT9JSA1ckwGMUyrbxkRJosbOKH7boW+bzgIeeMbjiv0JeUIJ4DNtHMHlnJE6Ip+
nnrh7JSf2H0ywle2Kus2vLOFR+ptigyYU+ALbrH9vDv7hZ6sFKfKtshme7kZzF5X
3ZUnd2IwjO9mD8nAvYpmnBx2EUs3FIMWDnlcRFzPB0tkGho74Rs/M1OlnrlkwINe
HWKckD22tqGgxtidZjE7K6B10tI2W/91lU82OU9KlHunQ9LcEePWEsz5pMX3H6kX
2wIDAQAB
-----END PUBLIC KEY-----
";

/// Signs, and knows what verifies.
enum Signer {
    Hs256(&'static str),
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
}

impl Signer {
    fn all() -> [Self; 3] {
        let random = SystemRandom::new();
        let es = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let es = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, es.as_ref(), &random).unwrap();
        let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let ed = Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap();
        [Self::Hs256(SECRET), Self::Es256(es), Self::EdDsa(ed)]
    }

    fn alg(&self) -> &'static str {
        match self {
            Self::Hs256(_) => "HS256",
            Self::Es256(_) => "ES256",
            Self::EdDsa(_) => "EdDSA",
        }
    }

    fn issuer(&self) -> JwtIssuer {
        let jwk =
            |fields: Value, algorithm| VerifyingKey::of_jwk(algorithm, fields.as_object().unwrap()).unwrap();
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (algorithm, key) = match self {
            Self::Hs256(secret) => {
                (Algorithm::Hs256, VerifyingKey::of_secret(Secret::new((*secret).into(), "test")).unwrap())
            }
            Self::Es256(pair) => {
                let point = pair.public_key().as_ref();
                let fields =
                    json!({ "kty": "EC", "crv": "P-256", "x": text(&point[1..33]), "y": text(&point[33..]) });
                (Algorithm::Es256, jwk(fields, Algorithm::Es256))
            }
            Self::EdDsa(pair) => {
                let fields = json!({ "kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref()) });
                (Algorithm::EdDsa, jwk(fields, Algorithm::EdDsa))
            }
        };
        issuer(algorithm, key)
    }

    /// Signs any two texts, JSON or not.
    fn sign(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = match self {
            Self::Hs256(secret) => hs256(secret.as_bytes(), &message),
            Self::Es256(pair) => {
                pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap().as_ref().to_vec()
            }
            Self::EdDsa(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn usual(&self) -> String {
        self.sign(&self.header(&json!({})), &claims(&json!({})))
    }

    fn header(&self, more: &Value) -> String {
        merged(&json!({ "alg": self.alg(), "typ": "JWT" }), more)
    }
}

fn issuer(algorithm: Algorithm, key: VerifyingKey) -> JwtIssuer {
    JwtIssuer {
        algorithm,
        keys: JwtKeys::Fixed(key),
        issuer: ISSUER.into(),
        audience: "patchbay".into(),
        leeway: Duration::from_secs(30),
        user_claim: "sub".into(),
        scopes_claim: None,
    }
}

fn rsa_issuer() -> JwtIssuer {
    issuer(Algorithm::Rs256, VerifyingKey::of_pem(Algorithm::Rs256, RSA_PUBLIC).unwrap())
}

fn hs256(secret: &[u8], message: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn claims(more: &Value) -> String {
    merged(
        &json!({ "iss": ISSUER, "aud": "patchbay", "sub": "ann", "iat": NOW - 300, "exp": NOW + 300 }),
        more,
    )
}

/// `null` takes a member away.
fn merged(base: &Value, more: &Value) -> String {
    let mut all = base.as_object().unwrap().clone();
    for (name, value) in more.as_object().unwrap() {
        if value.is_null() {
            all.remove(name)
        } else {
            all.insert(name.clone(), value.clone())
        };
    }
    Value::Object(all).to_string()
}

/// As a request is judged, but for the look-up of the tenant.
fn judged(issuer: &JwtIssuer, text: &str, now: u64) -> Option<Vouched> {
    let token = Token::parse(text).filter(|token| is_meant_for(token, issuer))?;
    token.kid().ok()?;
    let JwtKeys::Fixed(key) = &issuer.keys else { panic!("these have one key") };
    vouched(&token.verify(issuer.algorithm, key)?, issuer, now)
}

#[test]
fn a_good_token_of_each_algorithm_names_its_user() {
    let ann =
        Vouched { user: Private::new("ann".into()), scopes: [Scope::RealtimeConnect].into_iter().collect() };
    for signer in Signer::all() {
        let issuer = signer.issuer();
        assert_eq!(judged(&issuer, &signer.usual(), NOW), Some(ann.clone()), "{}", signer.alg());
        for more in [
            json!({ "kid": "../../../../dev/null" }),
            json!({ "typ": null }),
            json!({ "typ": "at+JWT" }),
            json!({ "x5t": "not looked at" }),
        ] {
            let text = signer.sign(&signer.header(&more), &claims(&json!({ "aud": ["other", "patchbay"] })));
            assert_eq!(judged(&issuer, &text, NOW), Some(ann.clone()), "{more}");
        }
    }
    assert_eq!(judged(&rsa_issuer(), RS256, NOW), Some(ann));
    let [_, _, ed] = Signer::all();
    let renamed = ed.sign(&ed.header(&json!({ "alg": "Ed25519" })), &claims(&json!({})));
    assert!(judged(&ed.issuer(), &renamed, NOW).is_some(), "RFC 9864's name of EdDSA");
}

/// Every known attack, each signed by the right key where that makes it stronger: kind, and token.
fn corpus(signer: &Signer) -> Vec<(String, String)> {
    let header = |more: Value| signer.sign(&signer.header(&more), &claims(&json!({})));
    let claim = |more: Value| signer.sign(&signer.header(&json!({})), &claims(&more));
    let unsigned = |alg: &str| {
        let message = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(json!({ "alg": alg }).to_string()),
            URL_SAFE_NO_PAD.encode(claims(&json!({})))
        );
        format!("{message}.")
    };
    let mut list: Vec<(String, String)> = Vec::new();
    let mut add = |kind: &str, text: String| list.push((kind.to_owned(), text));
    for alg in ["none", "None", "NONE", "nOnE", "", " "] {
        add(&format!("unsigned, alg {alg:?}"), unsigned(alg));
        add(&format!("signed, alg {alg:?}"), header(json!({ "alg": alg })));
    }
    for alg in
        ["HS256", "HS384", "HS512", "RS256", "RS512", "PS256", "ES256", "ES256K", "ES384", "EdDSA", "hs256"]
    {
        if alg != signer.alg() {
            add(&format!("another algorithm, {alg}"), header(json!({ "alg": alg })));
        }
    }
    for alg in [json!(null), json!(["none"]), json!(7), json!({ "alg": signer.alg() }), json!(true)] {
        add(&format!("alg is {alg}"), header(json!({ "alg": alg })));
    }
    for (name, value) in [
        ("jku", json!("https://evil.example/jwks.json")),
        ("jwk", json!({ "kty": "oct", "k": "AAAA" })),
        ("x5u", json!("https://evil.example/cert.pem")),
        ("x5c", json!(["MIIB"])),
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("kid", json!(7)),
        ("kid", json!(["a"])),
        ("kid", json!("x".repeat(300))),
        ("typ", json!("dpop+jwt")),
        ("typ", json!("logout+jwt")),
        ("typ", json!(["JWT"])),
        ("pad", json!("x".repeat(5000))),
    ] {
        add(&format!("header {name}"), header(json!({ name: value })));
    }
    for (name, value) in [
        ("exp", json!(null)),
        ("exp", json!("9999999999")),
        ("exp", json!(NOW - 31)),
        ("exp", json!(NOW - 30)),
        ("exp", json!(0)),
        ("exp", json!(-1)),
        ("exp", json!([NOW + 300])),
        ("nbf", json!(NOW + 31)),
        ("nbf", json!("0")),
        ("iat", json!(NOW + 31)),
        ("iat", json!(true)),
        ("iss", json!(null)),
        ("iss", json!("https://login.example.com")),
        ("iss", json!("https://LOGIN.example.com/")),
        ("iss", json!("https://evil.example/")),
        ("iss", json!([ISSUER])),
        ("aud", json!(null)),
        ("aud", json!("patchbay ")),
        ("aud", json!("Patchbay")),
        ("aud", json!("")),
        ("aud", json!([])),
        ("aud", json!(["other"])),
        ("aud", json!(["patchbay", 7])),
        ("aud", json!({ "patchbay": true })),
        ("sub", json!(null)),
        ("sub", json!("")),
        ("sub", json!(7)),
        ("sub", json!(["ann"])),
        ("sub", json!("x".repeat(257))),
        ("sub", json!("ann\nbob")),
    ] {
        add(&format!("claim {name} is {value:.40}"), claim(json!({ name: value })));
    }
    let usual = claims(&json!({}));
    let twice = |member: &str| usual.replacen('{', &format!("{{{member},"), 1);
    for member in [
        "\"sub\":\"bob\"",
        "\"\\u0073ub\":\"bob\"",
        "\"exp\":9999999999",
        "\"iss\":\"x\"",
        "\"a\":{\"b\":1,\"b\":1}",
    ] {
        add(&format!("a claim twice: {member}"), signer.sign(&signer.header(&json!({})), &twice(member)));
    }
    let double = format!("{{\"alg\":\"none\",\"alg\":\"{}\"}}", signer.alg());
    add("alg twice", signer.sign(&double, &usual));
    add(
        "alg twice, the other way",
        signer.sign(&format!("{{\"alg\":\"{}\",\"alg\":\"none\"}}", signer.alg()), &usual),
    );
    let plain = signer.header(&json!({}));
    for (kind, header, claims) in [
        ("claims are a list", plain.as_str(), format!("[{usual}]")),
        ("claims are empty", &plain, String::new()),
        ("claims have a tail", &plain, format!("{usual}{usual}")),
        ("claims begin with a byte order mark", &plain, format!("\u{feff}{usual}")),
        ("claims are text", &plain, "patchbay".into()),
        ("claims are deep", &plain, format!("{{\"a\":{}{}}}", "[".repeat(1000), "]".repeat(1000))),
        ("header is a list", "[]", usual.clone()),
        ("header is empty", "", usual.clone()),
        ("header has a tail", &format!("{plain} x"), usual.clone()),
    ] {
        add(kind, signer.sign(header, &claims));
    }
    let good = signer.usual();
    let [first, second, third] = *good.split('.').collect::<Vec<_>>() else { panic!("three parts") };
    for (kind, text) in [
        ("the signature is gone", format!("{first}.{second}.")),
        ("the signature and its dot are gone", format!("{first}.{second}")),
        ("the claims are gone", format!("{first}..{third}")),
        ("the header is gone", format!(".{second}.{third}")),
        ("a part more", format!("{good}.{third}")),
        ("parts swapped", format!("{second}.{first}.{third}")),
        ("signature of zeros", format!("{first}.{second}.{}", URL_SAFE_NO_PAD.encode([0; 64]))),
        ("signature shortened", format!("{first}.{second}.{}", &third[..third.len() - 4])),
        ("signature doubled", format!("{first}.{second}.{third}{third}")),
        ("only dots", "..".into()),
        (
            "JSON serialisation",
            json!({ "payload": second, "protected": first, "signature": third }).to_string(),
        ),
    ] {
        add(kind, text);
    }
    list
}

/// Ways to write the same token otherwise.
fn mutations(text: &str) -> Vec<String> {
    let swap = |from: &str, to: &str| text.replacen(from, to, 1);
    let mut list = vec![
        format!(" {text}"),
        format!("{text} "),
        format!("{text}\n"),
        format!("{text}\r\n"),
        format!("\t{text}"),
        format!("{text}\0"),
        format!("{text}="),
        format!("{text}=="),
        format!("\"{text}\""),
        format!("Bearer {text}"),
        format!("{text}#"),
        format!("{text},{text}"),
        format!("\u{feff}{text}"),
        swap(".", "=."),
        swap(".", "==."),
        swap(".", " ."),
        swap(".", "%2E"),
        swap(".", ".."),
        swap(".", ". "),
        text.replace('.', "\u{3002}"),
        text.replace('.', "/"),
        text.replace('.', "\n."),
    ];
    // The other alphabet, and stray bits in the last letter of a part.
    for replaced in [text.replace('-', "+").replace('_', "/"), with_stray_bits(text)] {
        if replaced != text {
            list.push(replaced);
        }
    }
    list
}

/// The last letter of the signature, with bits that decode to nothing.
fn with_stray_bits(text: &str) -> String {
    let (head, signature) = text.rsplit_once('.').unwrap_or(("", text));
    let unused = match signature.len() % 4 {
        2 => 4,
        3 => 2,
        _ => return text.to_owned(),
    };
    let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let Some(last) = letters.find(&signature[signature.len() - 1..]) else { return text.to_owned() };
    let other = last ^ ((1 << unused) - 1);
    format!("{head}.{}{}", &signature[..signature.len() - 1], &letters[other..=other])
}

#[test]
fn every_known_attack_on_a_token_is_refused_in_every_spelling() {
    let mut kinds = 0;
    let mut tokens = 0;
    for signer in Signer::all() {
        let issuer = signer.issuer();
        for spelling in mutations(&signer.usual()) {
            assert_eq!(judged(&issuer, &spelling, NOW), None, "{}: {spelling:?}", signer.alg());
        }
        for (kind, text) in corpus(&signer) {
            assert_eq!(judged(&issuer, &text, NOW), None, "{}: {kind}: {text}", signer.alg());
            for spelling in mutations(&text) {
                assert_eq!(judged(&issuer, &spelling, NOW), None, "{}: {kind}: {spelling:?}", signer.alg());
                tokens += 1;
            }
            kinds += 1;
        }
    }
    for spelling in mutations(RS256) {
        assert_eq!(judged(&rsa_issuer(), &spelling, NOW), None, "{spelling:?}");
    }
    assert!(kinds > 3 * 24 && tokens > 24 * 20, "{kinds} kinds, {tokens} tokens");
}

#[test]
fn a_public_key_is_never_taken_for_a_secret() {
    let der = STANDARD
        .decode(RSA_PUBLIC.lines().filter(|line| !line.starts_with('-')).collect::<String>())
        .unwrap();
    let issuer = rsa_issuer();
    let as_secrets: [&[u8]; 4] = [RSA_PUBLIC.as_bytes(), RSA_PUBLIC.trim().as_bytes(), &der, b""];
    for alg in ["HS256", "RS256"] {
        for secret in as_secrets {
            let header = URL_SAFE_NO_PAD.encode(json!({ "alg": alg, "typ": "JWT" }).to_string());
            let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims(&json!({}))));
            let text = format!("{message}.{}", URL_SAFE_NO_PAD.encode(hs256(secret, &message)));
            assert_eq!(judged(&issuer, &text, NOW), None, "{alg}");
        }
    }
}

#[test]
fn a_token_of_one_issuer_opens_nothing_at_another_with_another_key() {
    let (ours, theirs) = (Signer::all(), Signer::all());
    for (one, other) in ours.iter().zip(&theirs).skip(1) {
        assert!(judged(&one.issuer(), &one.usual(), NOW).is_some());
        assert_eq!(judged(&one.issuer(), &other.usual(), NOW), None, "{}", one.alg());
    }
}

#[test]
fn expiry_and_beginning_hold_to_the_second_with_leeway() {
    let [hs, ..] = Signer::all();
    let issuer = hs.issuer();
    let text = hs.sign(&hs.header(&json!({})), &claims(&json!({ "nbf": NOW - 100, "iat": null })));
    let at = |now: u64| judged(&issuer, &text, now).is_some();
    let strict = JwtIssuer { leeway: Duration::ZERO, ..issuer.clone() };
    let strictly = |now: u64| judged(&strict, &text, now).is_some();
    let (begins, ends) = (NOW - 100, NOW + 300);
    assert!(!at(begins - 31) && at(begins - 30) && at(ends + 29) && !at(ends + 30));
    assert!(!strictly(begins - 1) && strictly(begins) && strictly(ends - 1) && !strictly(ends));
    let fraction = hs.sign(&hs.header(&json!({})), &claims(&json!({ "exp": 1_800_000_300.5 })));
    assert!(judged(&strict, &fraction, NOW).is_some() && judged(&strict, &fraction, NOW + 1).is_none());
    assert!(judged(&rsa_issuer(), RS256, 1_800_000_629).is_some());
    assert_eq!(judged(&rsa_issuer(), RS256, 1_800_000_630), None);
}

#[test]
fn a_token_says_what_its_user_may_do_only_where_the_tenant_asks_it() {
    let [hs, ..] = Signer::all();
    let with = |scope: Value| hs.sign(&hs.header(&json!({})), &claims(&json!({ "scope": scope })));
    let plain = hs.issuer();
    let asking = JwtIssuer { scopes_claim: Some("scope".into()), ..hs.issuer() };
    let both: Scopes = [Scope::CallsRead, Scope::RealtimeConnect].into_iter().collect();
    let words = with(json!("openid calls:read realtime:connect"));
    assert_eq!(judged(&asking, &words, NOW).unwrap().scopes, both);
    assert_eq!(judged(&asking, &with(json!(["calls:read", "realtime:connect"])), NOW).unwrap().scopes, both);
    assert_eq!(judged(&asking, &with(json!("")), NOW).unwrap().scopes, Scopes::NONE);
    assert_eq!(judged(&asking, &hs.usual(), NOW).unwrap().scopes, Scopes::NONE, "no claim, no permission");
    assert_eq!(judged(&asking, &with(json!(7)), NOW), None);
    assert_eq!(judged(&asking, &with(json!(["calls:read", 7])), NOW), None);
    assert!(!judged(&plain, &with(json!("admin")), NOW).unwrap().scopes.has(Scope::Admin));
}

proptest! {
    #[test]
    fn any_change_of_a_byte_of_a_token_is_refused(at: prop::sample::Index, to in 0x21u8..0x7F) {
        for signer in Signer::all() {
            let good = signer.usual();
            let at = at.index(good.len());
            let mut bytes = good.clone().into_bytes();
            bytes[at] = to;
            let changed = String::from_utf8(bytes).unwrap();
            prop_assert_eq!(judged(&signer.issuer(), &changed, NOW).is_some(), changed == good, "{}", signer.alg());
        }
    }

    #[test]
    fn no_text_panics_or_passes(text in "\\PC{0,200}", parts in "[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{0,90}") {
        prop_assert_eq!(judged(&rsa_issuer(), &text, NOW), None);
        prop_assert_eq!(judged(&rsa_issuer(), &parts, NOW), None);
    }
}

#[test]
fn base64_with_padding_is_another_spelling_and_refused() {
    let [hs, ..] = Signer::all();
    let message = format!(
        "{}.{}",
        URL_SAFE.encode(hs.header(&json!({}))),
        URL_SAFE.encode(claims(&json!({ "sub": "anna" })))
    );
    assert!(message.contains('='), "otherwise this test tests nothing");
    let text = format!("{message}.{}", URL_SAFE_NO_PAD.encode(hs256(SECRET.as_bytes(), &message)));
    assert_eq!(judged(&hs.issuer(), &text, NOW), None, "although its signature is right");
}
