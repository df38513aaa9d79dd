//! Wycheproof's cases for JWS (C2SP/wycheproof, testvectors_v1/json_web_signature_test.json, 073df56b; Apache-2.0): its keys
//! and good signatures as they are there, its bad ones made from them in the way that its comments say.

use serde_json::json;

use super::*;

struct Group {
    algorithm: Algorithm,
    key: VerifyingKey,
    good: &'static str,
}

fn public(algorithm: Algorithm, jwk: &Value) -> VerifyingKey {
    VerifyingKey::of_jwk(algorithm, jwk.as_object().unwrap()).unwrap()
}

fn ec_jwk() -> Value {
    json!({
        "alg": "ES256", "use": "sig", "crv": "P-256", "kid": "kid-ec-sign", "kty": "EC",
        "x": "04N0xi21hshyvBp7I167sbE_bXqyqkAPfefdklMO7wY",
        "y": "UI8exy-C06a7DUnjIdENkxeFtHM4-l_41LqEw9nVgmw",
    })
}

const ES256: &str = "eyJhbGciOiJFUzI1NiIsImtpZCI6ImtpZC1lYy1zaWduIn0.Zm9v.5cA0OHyMP7ezamUd5c9kV-FrGxdx4hbGXOdplQkutr\
                     qWrte5P-pAvsE3Ve6xSyU3YDQwUHjVVOtvcrEbbnZ8yA";

fn rsa_jwk() -> Value {
    json!({
        "alg": "RS256", "use": "sig", "e": "AQAB", "kid": "kid-rsa-sign", "kty": "RSA",
        "n": "kqGboBfAWttWPCA-0cGRgsY6SaYoIARt0B_PkaEcIq9HPYNdu9n6UuWHuuTHrjF_ZoQW97r5HaAorNvrMEGTGdxCHZdEtkHvNVVmrtxTBLiQC\
              bCozXhFoIrVcr3qUBrdGnNn_M3jJi7Wg7p_-x62nS5gNG875oyheRkutHsQXikFZwsN3q_TsPNOVlCiHy8mxzaFTUQGm-X8UYexFyAivlDSjg\
              DJLAZSWfxd7k9Gxuwa3AUfQqQcVcegmgKGCaErQ3qQbh1x7WB6iopE3_-GZ8HMAVtR9AmrVscqYsnjhaCehfAI0iKKs8zXr8tISc0ORbaalr\
              kk03H1ZrsEnDKEWQ",
    })
}

const RS256: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImtpZC1yc2Etc2lnbiJ9.Zm9v.HUwxI1-cZrZgcuOgBQ7G7NE-GrqK79l6GV1KT4DK\
                     XnSMFwC8pfZCzE7pmLE7mYpLCIvzC87yuOjuhT0uW5oe6aaAEtR978cm-q8dfly45flqMrd_ifhi9GCsMlyi8dpQ42Ou1etZljFZ\
                     uWjfyk8CN1c5DaHRwhqjScAPIFp6xmzKIRUJ_xdQfUSfSlujLaixtScU518EoNP4oo1v7E8RAz6ZO4g2N4Xqs8OvSxYydcoTEg42\
                     QnLHe9JnXgI37Q5gSwinwaPsG3Ry56UYiLoL8mCUa74S51y02VsIgVmmGWgaXjM-i_lCiKQDBiBnvWlka4XhVuvd6ZWibM9cbCPtPg";

const HS256: &str =
    "eyJhbGciOiJIUzI1NiIsImtpZCI6ImtpZC1hZXMtc2lnbiJ9.Zm9v.TD37p4c_0jmreSrBSDmE0F3mYSPtkZ3WrSyI5wb_KTg";

fn groups() -> [Group; 3] {
    let secret = URL_SAFE_NO_PAD.decode("-ebuDNsVZ2iJtoZ-akfXTSCt4UO2cruLCsbWlBinggE").unwrap();
    [
        Group { algorithm: Algorithm::Hs256, key: VerifyingKey::of_bytes(secret), good: HS256 },
        Group { algorithm: Algorithm::Es256, key: public(Algorithm::Es256, &ec_jwk()), good: ES256 },
        Group { algorithm: Algorithm::Rs256, key: public(Algorithm::Rs256, &rsa_jwk()), good: RS256 },
    ]
}

impl Group {
    fn takes(&self, text: &str) -> bool {
        Jws::parse(text).is_some_and(|jws| jws.verify(self.algorithm, &self.key))
    }
}

#[test]
fn wycheproofs_good_signatures_are_accepted_with_their_own_key_only() {
    let groups = groups();
    for (at, group) in groups.iter().enumerate() {
        assert!(group.takes(group.good), "{:?}", group.algorithm);
        for (other, wrong) in groups.iter().enumerate() {
            assert_eq!(
                wrong.takes(group.good),
                at == other,
                "{:?} by {:?}",
                group.algorithm,
                wrong.algorithm
            );
        }
        assert_eq!(Jws::parse(group.good).unwrap().payload, b"foo");
    }
}

#[test]
fn wycheproofs_mutilated_signatures_are_refused() {
    let first_other = |part: &str| {
        let first = if part.starts_with('X') { 'W' } else { 'X' };
        format!("{first}{}", &part[1..])
    };
    for group in groups() {
        let [header, payload, signature] = *group.good.split('.').collect::<Vec<_>>() else {
            panic!("three parts")
        };
        let kid = URL_SAFE_NO_PAD.decode(header).unwrap();
        let kid = String::from_utf8(kid).unwrap().replace("\"kid\":\"k", "\"kid\":\"X");
        let cases = [
            ("rejectsModifiedSignature", format!("{header}.{payload}.{}", first_other(signature))),
            ("rejectsMissingSignature", format!("{header}.{payload}.")),
            ("rejectsMissingSignatureAndSeparator", format!("{header}.{payload}")),
            ("rejectsModifiedPayload", format!("{header}.{}.{signature}", first_other(payload))),
            ("rejectsMissingPayload", format!("{header}..{signature}")),
            ("rejectsMissingPayloadAndSeparator", format!("{header}.{signature}")),
            ("rejectsModifiedHeader", format!("{}.{payload}.{signature}", URL_SAFE_NO_PAD.encode(kid))),
            ("rejectsMissingHeader", format!(".{payload}.{signature}")),
            ("rejectsMissingHeaderAndSeparator", format!("{payload}.{signature}")),
            ("rejectsMissingHeaderAndSignature", format!(".{payload}.")),
            ("rejectsMissingHeaderSignatureAndSeparators", payload.into()),
            ("rejectsEmptyString", String::new()),
            ("rejectsExtraEmptyComponent", format!("{}.", group.good)),
            ("rejectsExtraComponent", format!("{}.foo", group.good)),
            ("rejectsNoneAlgorithmAndMissingSignature", "eyJhbGciOiJub25lIiwia2lkIjoia2lkLWFlcy1zaWduIn0.Zm9v.".into()),
            (
                "rejectsValidJsonSerialization",
                json!({ "payload": payload, "signatures": [{ "protected": header, "signature": signature }] }).to_string(),
            ),
        ];
        for (comment, text) in cases {
            assert!(!group.takes(&text), "{comment}, {:?}: {text}", group.algorithm);
        }
    }
}

#[test]
fn wycheproofs_confusion_of_keys_and_embedded_keys_are_refused() {
    let [_, es256, _] = groups();
    let confused =
        "eyJhbGciOiJIUzI1NiIsImtpZCI6ImtpZC1lYy1zaWduIn0.Zm9v.TgWtz2FIRukBQ_mA5sgHa0Ybtgn7bl-YBPAi7Z0XdHU";
    assert!(!es256.takes(confused), "rejectsSymmetryConfusionAttacks_aesKeyFromEcVerificationKeyBytes");
    let embedded = "eyJhbGciOiJFUzI1NiIsImtpZCI6ImtpZC1lYy1zaWduIiwiandrIjp7Imt0eSI6IkVDIiwia2lkIjoia2lkLWVjLXNpZ24iLCJ1c2UiO\
                    iJzaWciLCJhbGciOiJFUzI1NiIsIngiOiJNZG5UWkRJaERKYmZBU2RGcWFtY3BPMkNoOUdOS0sybTBNUWxoNDAyU3BvIiwieSI6Ijdha\
                    ko0bHFfV3l4LW5MUERCUTJZcHl0dUh5TWlvMDdCVXl2bDNqYUMtMVkiLCJjcnYiOiJQLTI1NiJ9fQ.Zm9v.4jmsollQD8ZxvySzXYnIEY\
                    A4fwaZi2ZbC0aI1J4LYmW2Bn31NhKdjms2N6o51Dff5-InWXQF9m45VtTexl6yjg";
    assert!(!es256.takes(embedded), "rejectsAttackerProvidedEmbeddedJwk");
}

#[test]
fn wycheproofs_keys_with_another_use_or_algorithm_are_no_keys() {
    for (algorithm, jwk) in [(Algorithm::Es256, ec_jwk()), (Algorithm::Rs256, rsa_jwk())] {
        for (name, value) in
            [("use", "enc"), ("alg", "HS256"), ("alg", "PS256"), ("alg", "ECDH-ES"), ("kty", "oct")]
        {
            let mut changed = jwk.clone();
            changed[name] = value.into();
            let read = VerifyingKey::of_jwk(algorithm, changed.as_object().unwrap());
            assert!(read.is_none(), "{algorithm:?}: {name} {value}");
        }
    }
}
