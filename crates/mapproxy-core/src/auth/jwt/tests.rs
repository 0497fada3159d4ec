//! Tokens right and wrong, of every kind, and where their keys come from.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mapproxy_client::ErrorKind;
use mapproxy_client::testkit::{ScriptedClient, failure, response};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use ring::{hmac, rand::SystemRandom};
use serde_json::json;

use super::*;
use crate::auth::jwks::FetchedKeys;

const SECRET: &[u8] = b"a secret of at least 32 bytes, drawn at random";
/// Claims: valid until 2100, audience `maps`, layer `photo`. Made with OpenSSL.
const RSA_CLAIMS: &str = "eyJleHAiOjQxMDI0NDQ4MDAsImF1ZCI6Im1hcHMiLCJsYXllcnMiOlsicGhvdG8iXX0";
const RSA_N: &str = "ra90krpbJOsBeoDHry9QlP9Kw4EsapbP8TxgvWdmfqGuCjzNG3IWE4kh4i8hBEA1D-FCaGsY56_U0rzmw2amsbXJRmv01RiCKu7K\
     mZAuKj-m8LaY3Thq2Qs6xxSoREWIcHKH1sb0korrqnswtUwrz2Z-cP70Z-h1TqiiPu5Py6m03KGbCl-1v-tH8yLBsspUh-E3xJmZ\
     t3eBuPoFKIDTDo1xPyIuptapzPM10u3JBWpxVz-I9FvYfjPdxVTmdDpnWrCAaW-xB8MO4q3DhooCrq9BJAPW0EzasRJMxV_c8nYR\
     Whxi_nBvsLVq-mmsVmTUbsuZ1tt_uwKmm3rNME2yuw";
const RS256: &str = "byQVhLdErSV9DYVxrqPaDhpMUBySAAySqRr8-G8M-oks9Dzm5M3zTQX8zuYDuaPWNG4XOVHexni2mvtL-p7RijShae6lGCF8Z1Ps\
     1ga_573pIXw1wliSdYmxSp-1cJQpICyZIT_tl_ySbEQBvxGwa3ZnPELYgfWwJ3d-1HNASUGEBlSdLnll8p7BCTOpnVOv9cvRov_d\
     msn-68GL-c_jZSinYkhZpoCWYsQH0CZc6v1Z4Bdmz5B9aRB36rkavKapBj2n9I0j4qzPK3wA73xu2IiX1eOqQgBkBivi7LBvkI8A\
     ov8F8R-NDf7PIWuNNy8IBBwskOVFw_cUpGzg1M1brw";
const PS256: &str = "Yr-8-4WPlkbmjVitGseGvmEW2c9MLvsNb0nUDXSXKHzrLCS_TWiL4LjLNMsDuiJ4WcfR9jZmihfFj9DVtLi0NQMX6D3TeY6F4SSh\
     H03D4D4GTv20o07ytX-xMQFfjjfGxOrNkJUzdSaN1GVxWn_Z3Eclv6OtDtP78SRM5atk2imUgkP-OeuWdrMpqWYq9WT5NPyYzU2H\
     cMNff8iCu5f3mZEnuZ2GHq_ZkZwDs0ZNumm91osIVxt--L5vciCEeddJICWIMwanHrRd3OaWbFRiFxflgflvV4rRMwR6cJuHikFb\
     f1ii4vV4PDmfFiSuHZznxx5qjvbdSQ4U3ECb3XDR3g";

fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn signed(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
    let signature = sign(message.as_bytes());
    format!("{message}.{}", encode(signature))
}

fn by_secret(header: &Value, claims: &Value) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    signed(header, claims, |message| hmac::sign(&key, message).as_ref().to_vec())
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Claims that are right, with these changes.
fn claims(changes: Value) -> Value {
    let mut claims = json!({"exp": now() + 600, "aud": "maps", "iss": "town", "layers": "photo"});
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn options(algorithms: &[Algorithm]) -> JwtOptions {
    JwtOptions { audiences: vec!["maps".to_owned()], leeway: Duration::from_secs(5), ..JwtOptions::new(algorithms) }
}

fn secret() -> Jwt {
    let options = JwtOptions { issuers: vec!["town".to_owned()], ..options(&[Algorithm::HS256]) };
    Jwt::new(options, KeySet::from_secret(SECRET).unwrap())
}

fn is_granted(jwt: &Jwt, token: &str) -> bool {
    match jwt.decide(token).unwrap() {
        Decision::Partial(partial) => partial.grant("photo").is_some(),
        Decision::Challenged(challenge) => {
            assert_eq!(challenge, "Bearer realm=\"MapProxy\", error=\"invalid_token\"");
            false
        }
        other => panic!("{other:?}"),
    }
}

fn rsa() -> Value {
    json!({"kty": "RSA", "kid": "r", "n": RSA_N, "e": "AQAB"})
}

fn set(keys: Value) -> KeySet {
    KeySet::from_json(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

#[test]
fn every_kind_of_signature_is_checked() {
    let (rsa_256, rsa_pss) = ("eyJhbGciOiJSUzI1NiIsImtpZCI6InIifQ", "eyJhbGciOiJQUzI1NiIsImtpZCI6InIifQ");
    let random = SystemRandom::new();
    let p256 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let p256 = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, p256.as_ref(), &random).unwrap();
    let point = p256.public_key().as_ref();
    let ed = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let keys = set(json!([
        rsa(),
        {"kty": "EC", "crv": "P-256", "kid": "e", "x": encode(&point[1..33]), "y": encode(&point[33..])},
        {"kty": "OKP", "crv": "Ed25519", "kid": "o", "x": encode(ed.public_key()), "use": "sig", "alg": "EdDSA"},
    ]));
    let algorithms = [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::EdDSA];
    let jwt = Jwt::new(options(&algorithms), keys);
    let claims = claims(json!({}));
    let mut tokens = vec![format!("{rsa_256}.{RSA_CLAIMS}.{RS256}"), format!("{rsa_pss}.{RSA_CLAIMS}.{PS256}")];
    for kid in ["e", "none of them"] {
        let header = json!({"alg": "ES256", "kid": kid});
        let token = signed(&header, &claims, |message| p256.sign(&random, message).unwrap().as_ref().to_vec());
        assert_eq!(is_granted(&jwt, &token), kid == "e");
        tokens.extend((kid == "e").then_some(token));
    }
    // Without a name, any key that fits.
    tokens.push(signed(&json!({"alg": "EdDSA"}), &claims, |message| ed.sign(message).as_ref().to_vec()));
    for token in &tokens {
        assert!(is_granted(&jwt, token), "{token}");
        let (message, signature) = token.rsplit_once('.').unwrap();
        let mut forged = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
        forged[5] ^= 1;
        assert!(!is_granted(&jwt, &format!("{message}.{}", encode(&forged))));
        let more = encode(json!({"exp": now() + 600, "aud": "maps", "mapproxy": {"authorized": "full"}}).to_string());
        let header = message.split_once('.').unwrap().0;
        assert!(!is_granted(&jwt, &format!("{header}.{more}.{signature}")));
    }
    let only = Jwt::new(options(&[Algorithm::ES256]), set(json!([rsa()])));
    assert!(tokens.iter().all(|token| !is_granted(&only, token)));
}

#[test]
fn a_public_key_is_no_secret_and_none_is_no_algorithm() {
    // The algorithm of the token must not turn a public key into a secret.
    let jwt = Jwt::new(options(&[Algorithm::RS256, Algorithm::HS256]), set(json!([rsa()])));
    let key = hmac::Key::new(hmac::HMAC_SHA256, &BASE64_URL_SAFE_NO_PAD.decode(RSA_N).unwrap());
    for header in [json!({"alg": "HS256"}), json!({"alg": "HS256", "kid": "r"})] {
        let token = signed(&header, &claims(json!({})), |message| hmac::sign(&key, message).as_ref().to_vec());
        assert!(!is_granted(&jwt, &token));
    }
    for header in
        [json!({"alg": "none"}), json!({"alg": "None"}), json!({}), json!({"alg": "HS384"}), json!({"alg": 1})]
    {
        let unsigned = signed(&header, &claims(json!({})), |_| Vec::new());
        assert!(!is_granted(&secret(), &unsigned) && !is_granted(&secret(), &by_secret(&header, &claims(json!({})))));
    }
    let header = json!({"alg": "HS256", "crit": ["exp"]});
    assert!(!is_granted(&secret(), &by_secret(&header, &claims(json!({})))));
}

#[test]
fn time_issuer_and_audience_are_looked_at() {
    let header = json!({"alg": "HS256", "typ": "JWT"});
    let jwt = secret();
    for (changes, is_right) in [
        (json!({}), true),
        (json!({"aud": ["others", "maps"], "nbf": now() - 1, "iat": "whatever"}), true),
        (json!({"exp": now() as f64 - 2.5}), true),
        (json!({"nbf": now() + 3}), true),
        (json!({"exp": 1e300}), true),
        (json!({"exp": now() - 10}), false),
        (json!({"exp": null}), false),
        (json!({"exp": "2100-01-01"}), false),
        (json!({"nbf": now() + 60}), false),
        (json!({"nbf": "now"}), false),
        (json!({"aud": "others"}), false),
        (json!({"aud": []}), false),
        (json!({"aud": null}), false),
        (json!({"iss": "village"}), false),
        (json!({"iss": ["town"]}), false),
        (json!({"layers": 5}), false),
        (json!({"mapproxy": {"authorized": "everything"}}), false),
    ] {
        assert_eq!(is_granted(&jwt, &by_secret(&header, &claims(changes.clone()))), is_right, "{changes}");
    }
    let mut without = claims(json!({}));
    without.as_object_mut().unwrap().remove("exp");
    assert!(!is_granted(&jwt, &by_secret(&header, &without)));
    let whoever = Jwt::new(JwtOptions::new([Algorithm::HS256]), KeySet::from_secret(SECRET).unwrap());
    assert!(!is_granted(&whoever, &by_secret(&header, &claims(json!({})))), "meant for others");
}

#[test]
fn what_is_no_token_is_refused() {
    let right = by_secret(&json!({"alg": "HS256"}), &claims(json!({})));
    assert!(is_granted(&secret(), &right));
    let longer = format!("{right}{}", "A".repeat(20_000));
    let padded = format!("{right}=");
    for token in ["", ".", "..", "a.b.c", &right[1..], &right[..right.len() - 4], &longer, &padded, "e30.e30.e30"] {
        assert!(!is_granted(&secret(), token), "{token}");
    }
}

#[test]
fn claims_say_what_is_granted() {
    let header = json!({"alg": "HS256"});
    let jwt = Jwt::new(
        JwtOptions { claim: "maps".to_owned(), otherwise: Decision::Full, ..options(&[Algorithm::HS256]) },
        KeySet::from_secret(SECRET).unwrap(),
    );
    let decide = |changes| jwt.decide(&by_secret(&header, &claims(changes))).unwrap();
    assert!(matches!(decide(json!({"maps": {"authorized": "none"}})), Decision::None));
    let own = decide(json!({"maps": {"authorized": "partial", "layers": ["a"]}}));
    assert!(
        matches!(own, Decision::Partial(partial) if partial.grant("a").is_some() && partial.grant("photo").is_none())
    );
    let mut without = claims(json!({}));
    without.as_object_mut().unwrap().remove("layers");
    assert!(matches!(jwt.decide(&by_secret(&header, &without)).unwrap(), Decision::Full));
}

#[test]
fn a_right_token_is_checked_once() {
    let jwt = secret();
    let token = by_secret(&json!({"alg": "HS256"}), &claims(json!({})));
    assert!(jwt.decide_now(&token).is_none());
    assert!(is_granted(&jwt, &token));
    assert!(matches!(jwt.decide_now(&token), Some(Decision::Partial(_))));
    assert!(!is_granted(&jwt, "wrong") && jwt.decide_now("wrong").is_none());
}

#[test]
fn keys_are_fetched_when_needed_and_not_more_often_than_allowed() {
    let is_up = Arc::new(AtomicBool::new(false));
    let client = {
        let is_up = Arc::clone(&is_up);
        ScriptedClient::new(move |request| match is_up.load(Ordering::SeqCst) {
            true => Ok(response("application/json", json!({"keys": [rsa()]}).to_string())),
            false => Err(failure(ErrorKind::Timeout, request)),
        })
    };
    let fetched = || FetchedKeys::new("http://id.example/keys", Duration::from_secs(600), Arc::new(client.clone()));
    let jwt = || Jwt::new(options(&[Algorithm::RS256]), fetched());
    let right = format!("eyJhbGciOiJSUzI1NiIsImtpZCI6InIifQ.{RSA_CLAIMS}.{RS256}");
    let of_stranger = signed(&json!({"alg": "RS256", "kid": "new"}), &claims(json!({})), |_| vec![0; 256]);

    let down = jwt();
    for _ in 0..3 {
        assert!(down.decide(&right).unwrap_err().is::<Unavailable>());
    }
    assert_eq!(client.requests().len(), 1, "a server in trouble is left alone");
    is_up.store(true, Ordering::SeqCst);
    let up = jwt();
    assert!(client.requests().len() == 1 && is_granted(&up, &right));
    for _ in 0..3 {
        assert!(!is_granted(&up, &of_stranger));
        assert!(is_granted(&up, &right));
    }
    assert_eq!(client.requests().len(), 2, "names that nobody knows cost no questions");
}

#[test]
fn sets_without_a_key_that_can_be_used_are_refused() {
    let error = |json: Value| KeySet::from_json(json.to_string().as_bytes()).unwrap_err().to_string();
    assert!(error(json!([])).contains("no list"));
    for key in [
        json!({"kty": "oct", "k": encode(SECRET)}),
        json!({"kty": "RSA", "n": RSA_N, "e": "AQAB", "use": "enc"}),
        json!({"kty": "RSA", "n": RSA_N, "e": "AQAB", "key_ops": ["sign"]}),
        json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}),
        json!({"kty": "OKP", "crv": "X25519", "x": encode([7; 32])}),
        json!("key"),
    ] {
        assert!(error(json!({ "keys": [key] })).contains("no public"), "{key}");
    }
    assert!(KeySet::from_secret(b"short").is_err());
    assert!(KeySet::from_json(b"{").is_err());
}
