//! How an order travels: its exact bytes, and signatures over them.

use std::{collections::BTreeSet, fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use wire::{
    bounds::MAX_SIGNATURES,
    v1::{self, ORDER_CONTEXT, Signature, SignedOrder},
};

use super::{Invalid, Order};
use crate::id::OrderId;

/// Most bytes of an order as JSON.
pub const MAX_PAYLOAD: usize = 2_048;
/// How long a signature is, in bytes: Ed25519, RFC 8032.
pub const MAX_SIGNATURE_BYTES: usize = 64;
/// Longest name of a key, in bytes.
const MAX_KEY_BYTES: usize = 64;

/// The name by which hosts know a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

/// Puts an order into an envelope and signs it. `signer` gets the bytes to sign, and answers with the signature.
///
/// # Errors
/// It is not in the shape of one, or larger than [`MAX_PAYLOAD`].
pub fn seal(
    order: &v1::Order,
    key: &KeyName,
    signer: impl FnOnce(&[u8]) -> Vec<u8>,
) -> Result<SignedOrder, Invalid> {
    Order::check(order.clone())?;
    let payload = serde_json::to_vec(order).unwrap_or_default();
    if payload.is_empty() || payload.len() > MAX_PAYLOAD {
        return Err(Invalid { field: "order", reason: "is larger than 2,048 bytes" });
    }
    let signature = sign(&payload, key, signer);
    Ok(SignedOrder { payload: URL_SAFE_NO_PAD.encode(payload), signatures: vec![signature] })
}

/// A signature of these bytes of an order.
pub fn sign(payload: &[u8], key: &KeyName, signer: impl FnOnce(&[u8]) -> Vec<u8>) -> Signature {
    Signature { key: key.to_string(), sig: URL_SAFE_NO_PAD.encode(signer(&message(payload))) }
}

/// Whether this can be a signature: the name of a key, and as many bytes as one has. Whether it is true takes the key.
pub fn check_signature(signature: &Signature) -> Result<(), Invalid> {
    signature.key.parse::<KeyName>()?;
    match URL_SAFE_NO_PAD.decode(&signature.sig) {
        Ok(bytes) if bytes.len() == MAX_SIGNATURE_BYTES => Ok(()),
        _ => Err(Invalid { field: "sig", reason: "is no Ed25519 signature in base64url without padding" }),
    }
}

/// The bytes that were signed. They are not to be believed before [`signers`] says whose they are.
pub fn open(envelope: &SignedOrder) -> Result<Vec<u8>, Invalid> {
    let wrong =
        Invalid { field: "payload", reason: "is not at most 2,048 bytes in base64url without padding" };
    // Whatever is longer is not even decoded.
    if envelope.payload.len() > MAX_PAYLOAD.div_ceil(3) * 4 || envelope.signatures.len() > MAX_SIGNATURES {
        return Err(wrong);
    }
    match URL_SAFE_NO_PAD.decode(&envelope.payload) {
        Ok(payload) if (1..=MAX_PAYLOAD).contains(&payload.len()) => Ok(payload),
        _ => Err(wrong),
    }
}

/// Whose signatures these bytes carry. `verify` gets the name of a key, the bytes that were signed and a signature, and says
/// `None` when it does not know the key. `Err`: a signature by a key that it knows is not true, so somebody tampered with it.
pub fn signers<'a>(
    envelope: &'a SignedOrder,
    payload: &[u8],
    verify: impl Fn(&str, &[u8], &[u8]) -> Option<bool>,
) -> Result<BTreeSet<&'a str>, Invalid> {
    let message = message(payload);
    let mut signers = BTreeSet::new();
    for Signature { key, sig } in &envelope.signatures {
        // What cannot be decoded is no true signature of anybody.
        let bytes = URL_SAFE_NO_PAD.decode(sig).unwrap_or_default();
        match verify(key, &message, &bytes) {
            Some(true) => drop(signers.insert(key.as_str())),
            Some(false) => return Err(Invalid { field: "signatures", reason: "has one that is not true" }),
            None => {}
        }
    }
    Ok(signers)
}

/// Which order an envelope says that it holds. Nothing of it is verified: it serves to tell envelopes apart, and to answer.
pub fn id_of(envelope: &SignedOrder) -> Option<OrderId> {
    #[derive(serde::Deserialize)]
    struct Named {
        order: OrderId,
    }
    serde_json::from_slice::<Named>(&open(envelope).ok()?).ok().map(|named| named.order)
}

fn message(payload: &[u8]) -> Vec<u8> {
    [ORDER_CONTEXT, payload].concat()
}

impl KeyName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for KeyName {
    type Err = Invalid;

    /// 1 to 64 of `[A-Za-z0-9._-]`.
    fn from_str(name: &str) -> Result<Self, Invalid> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if name.is_empty() || name.len() > MAX_KEY_BYTES || !name.bytes().all(plain) {
            return Err(Invalid { field: "key", reason: "is not 1 to 64 of A-Z a-z 0-9 . _ -" });
        }
        Ok(Self(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wire::v1::ProcessTarget;

    use super::*;
    use crate::ServerId;

    fn order(reason: &str) -> v1::Order {
        v1::Order {
            version: v1::VERSION,
            order: OrderId::new(1_790_000_000_000, [1; 10]).to_string(),
            server: ServerId::new(1_790_000_000_000, [2; 10]).to_string(),
            boot: "6ca26903-7f7d-4915-a506-6de3d7583991".to_owned(),
            kind: "process.terminate".to_owned(),
            process: Some(ProcessTarget { pid: 7, start_ms: 9, pin: Some(u64::MAX), executable: None }),
            unit: None,
            dry_run: true,
            not_after: 1_790_000_300_000,
            by: "ann".to_owned(),
            reason: reason.to_owned(),
        }
    }

    /// A stand-in for a signature, by a key that is one byte.
    fn stamp(key: u8, message: &[u8]) -> Vec<u8> {
        let sum = message.iter().fold(u64::from(key), |sum, byte| sum.wrapping_mul(31) ^ u64::from(*byte));
        [sum.to_le_bytes(), [key; 8]].concat().repeat(4)
    }

    fn verify(key: &str, message: &[u8], signature: &[u8]) -> Option<bool> {
        let known = [("suite", 1), ("ann", 2)].into_iter().find(|(name, _)| *name == key)?;
        Some(signature == stamp(known.1, message))
    }

    fn name(text: &str) -> KeyName {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_sealed_is_opened_by_its_bytes() {
        let sealed = seal(&order("why"), &name("suite"), |message| stamp(1, message)).unwrap();
        check_signature(&sealed.signatures[0]).unwrap();
        let payload = open(&sealed).unwrap();
        assert_eq!(serde_json::from_slice::<v1::Order>(&payload).unwrap(), order("why"));
        assert_eq!(id_of(&sealed).unwrap().to_string(), order("why").order);
        assert_eq!(signers(&sealed, &payload, verify).unwrap(), BTreeSet::from(["suite"]));
    }

    #[test]
    fn the_same_key_twice_is_one_signer_and_another_is_two() {
        let mut sealed = seal(&order("why"), &name("suite"), |message| stamp(1, message)).unwrap();
        let payload = open(&sealed).unwrap();
        sealed.signatures.push(sealed.signatures[0].clone());
        sealed.signatures.push(sign(&payload, &name("stranger"), |message| stamp(9, message)));
        assert_eq!(signers(&sealed, &payload, verify).unwrap().len(), 1);
        sealed.signatures.push(sign(&payload, &name("ann"), |message| stamp(2, message)));
        assert_eq!(signers(&sealed, &payload, verify).unwrap(), BTreeSet::from(["ann", "suite"]));
        sealed.signatures[0].sig = sealed.signatures[3].sig.clone();
        assert!(signers(&sealed, &payload, verify).is_err());
    }

    #[test]
    fn what_is_too_large_or_out_of_shape_is_neither_sealed_nor_opened() {
        let long = order(&"\"".repeat(256));
        assert!(seal(&long, &name("suite"), |message| stamp(1, message)).is_ok());
        let none = v1::Order { process: None, ..order("why") };
        assert!(seal(&none, &name("suite"), |_| panic!("it is not signed")).is_err());
        for (bytes, opens) in [(0, false), (1, true), (MAX_PAYLOAD, true), (MAX_PAYLOAD + 1, false)] {
            let payload = URL_SAFE_NO_PAD.encode(vec![b'7'; bytes]);
            assert_eq!(open(&SignedOrder { payload, signatures: Vec::new() }).is_ok(), opens, "{bytes}");
        }
        for text in ["e30=", "e+0", "{}", "e30\n"] {
            assert!(
                open(&SignedOrder { payload: text.to_owned(), signatures: Vec::new() }).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn a_key_has_a_plain_name() {
        for bad in ["", "a b", "a:b", "ä", "a,b", &"a".repeat(65)] {
            assert!(bad.parse::<KeyName>().is_err(), "{bad}");
        }
        assert_eq!(name("ann.laptop-2_x").as_str(), "ann.laptop-2_x");
    }

    proptest! {
        #[test]
        fn one_bit_more_or_less_is_no_order(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let sealed = seal(&order("why"), &name("suite"), |message| stamp(1, message)).unwrap();
            let mut payload = open(&sealed).unwrap();
            let at = at.index(payload.len());
            payload[at] ^= 1 << bit;
            prop_assert!(signers(&sealed, &payload, verify).is_err());
        }

        #[test]
        fn no_text_makes_it_panic(payload in ".{0,200}", key in ".{0,80}", sig in ".{0,100}") {
            let sealed = SignedOrder { payload, signatures: vec![Signature { key, sig }] };
            let _ = id_of(&sealed);
            let _ = check_signature(&sealed.signatures[0]);
            let _ = signers(&sealed, b"payload", verify);
        }
    }
}
