//! The key that orders are signed with. No other process has it.

use std::{fmt, str::FromStr, sync::Arc};

use actix_web::web::{Data, Json};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chassis::Problem;
use fleet::{
    order::{self, Invalid, KeyName},
    wire::v1::{Order, Signature, SignedOrder},
};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::failure::{Failure, conflict};

/// By this name hosts know the key.
pub(super) const KEY_NAME: &str = "management";

/// The key that orders are signed with: Ed25519, made of a seed of 32 bytes. It never prints.
#[derive(Clone)]
pub struct OrderKey(Arc<Ed25519KeyPair>);

/// A text that is no such seed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be 32 bytes as 64 hex digits, or in base64url; make them with `openssl rand -hex 32`")]
pub struct BadOrderKey;

/// What signs orders; without a key none can be made.
#[derive(Debug, Clone, Default)]
pub(crate) struct Signing(pub(crate) Option<OrderKey>);

/// What a host has to know of the suite to take its orders.
#[derive(Serialize, ToSchema)]
#[schema(as = OrderKey)]
pub(crate) struct KeyShown {
    /// The line for `hand.conf`: the name of the key and its public half, in base64url. Null: no orders are made here.
    #[schema(example = "management:11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")]
    keys: Option<String>,
}

/// Read the public half of the key that orders are signed with.
///
/// A host whose owner writes `keys = ` and this into `hand.conf` takes orders of this suite. Compare it with what the suite's
/// owner tells you.
#[utoipa::path(
    get, path = "/order-key", operation_id = "show_order_key", tag = "orders",
    responses((status = 200, description = "The key", body = KeyShown)), security(())
)]
pub(crate) async fn show(signing: Data<Signing>) -> Json<KeyShown> {
    Json(KeyShown { keys: signing.0.as_ref().map(|key| format!("{KEY_NAME}:{}", key.public())) })
}

impl FromStr for OrderKey {
    type Err = BadOrderKey;

    fn from_str(text: &str) -> Result<Self, BadOrderKey> {
        let seed = if text.len() == 64 { from_hex(text) } else { URL_SAFE_NO_PAD.decode(text).ok() };
        let seed = seed.filter(|seed| seed.len() == 32).ok_or(BadOrderKey)?;
        Ed25519KeyPair::from_seed_unchecked(&seed).map(|pair| Self(Arc::new(pair))).map_err(|_| BadOrderKey)
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.as_bytes().chunks_exact(2).map(|pair| Some((digit(pair[0])? << 4) | digit(pair[1])?)).collect()
}

impl fmt::Debug for OrderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OrderKey({})", self.public())
    }
}

impl OrderKey {
    /// The public half, in base64url without padding.
    pub fn public(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.public_key())
    }

    /// Puts an order into an envelope and signs it.
    pub(super) fn seal(&self, order: &Order) -> Result<SignedOrder, Invalid> {
        order::seal(order, &KEY_NAME.parse::<KeyName>()?, |bytes| self.0.sign(bytes).as_ref().to_vec())
    }

    /// Signs an order that was put into an envelope before: only one that says exactly this.
    pub(super) fn sign(&self, envelope: &SignedOrder, content: &Order) -> Result<Signature, Invalid> {
        let payload = order::open(envelope)?;
        if serde_json::from_slice::<Order>(&payload).ok().as_ref() != Some(content) {
            return Err(Invalid { field: "payload", reason: "is not what the order says" });
        }
        order::Order::check(content.clone())?;
        let key = KEY_NAME.parse::<KeyName>()?;
        Ok(order::sign(&payload, &key, |bytes| self.0.sign(bytes).as_ref().to_vec()))
    }
}

impl Signing {
    /// 409 without one.
    pub(super) fn key(&self) -> Result<&OrderKey, Failure> {
        let detail = "no orders can be signed here: ORDER_KEY is not set";
        self.0.as_ref().ok_or_else(|| Failure::from(conflict("no_order_key", detail)))
    }
}

/// 422: what is ordered is not in shape.
pub(super) fn invalid(error: &Invalid) -> Problem {
    crate::http::failure::invalid_body(error.to_string()).with("field", error.field)
}

#[cfg(test)]
mod tests {
    use fleet::wire::v1::{ORDER_CONTEXT, VERSION};
    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    const SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    /// RFC 8032, 7.1, test 1.
    const PUBLIC: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn content() -> Order {
        Order {
            version: VERSION,
            order: "01a0c450-6c00-7303-8303-030303030303".to_owned(),
            server: "01a0c450-6c00-7303-8303-030303030304".to_owned(),
            boot: "0b6f9d3e".to_owned(),
            kind: "unit.stop".to_owned(),
            process: None,
            unit: Some("shop.service".to_owned()),
            dry_run: false,
            not_after: 7,
            by: "ann".to_owned(),
            reason: "it hangs".to_owned(),
        }
    }

    #[test]
    fn a_key_is_32_bytes_and_never_prints() {
        let key: OrderKey = SEED.parse().unwrap();
        assert_eq!(key.public(), PUBLIC);
        let encoded = URL_SAFE_NO_PAD.encode(from_hex(SEED).unwrap());
        assert_eq!(encoded.parse::<OrderKey>().unwrap().public(), PUBLIC);
        assert_eq!(format!("{key:?}"), format!("OrderKey({PUBLIC})"));
        for bad in ["", "7", &"g".repeat(64), &"7".repeat(63), &"7".repeat(66), &"é".repeat(32), "c2ln"] {
            assert_eq!(bad.parse::<OrderKey>().err(), Some(BadOrderKey), "{bad}");
        }
    }

    #[test]
    fn a_signature_is_of_the_context_and_the_exact_bytes() {
        let key: OrderKey = SEED.parse().unwrap();
        let envelope = key.seal(&content()).unwrap();
        let payload = order::open(&envelope).unwrap();
        let public = URL_SAFE_NO_PAD.decode(PUBLIC).unwrap();
        let sig = URL_SAFE_NO_PAD.decode(&envelope.signatures[0].sig).unwrap();
        let verify = |message: &[u8]| UnparsedPublicKey::new(&ED25519, &public).verify(message, &sig).is_ok();
        assert!(verify(&[ORDER_CONTEXT, &payload].concat()));
        assert!(!verify(&payload));
        assert_eq!(key.sign(&envelope, &content()).unwrap(), envelope.signatures[0]);
    }

    #[test]
    fn nothing_is_signed_but_what_the_order_says() {
        let key: OrderKey = SEED.parse().unwrap();
        let envelope = key.seal(&content()).unwrap();
        let other = Order { unit: Some("sshd.service".to_owned()), ..content() };
        assert!(key.sign(&envelope, &other).is_err());
        let planted = SignedOrder { payload: URL_SAFE_NO_PAD.encode("{}"), ..envelope };
        assert!(key.sign(&planted, &content()).is_err());
    }
}
