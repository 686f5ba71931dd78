//! Ed25519 keys: verifying the suite's, and making and using one of a person's own, offline.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use base64::{
    Engine,
    alphabet::{STANDARD, URL_SAFE},
    engine::{
        DecodePaddingMode::Indifferent, GeneralPurpose, GeneralPurposeConfig,
        general_purpose::STANDARD as PADDED,
    },
};
use fleet::order::{self, KeyName, Order};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use wire::v1::{self, Signature, SignedOrder};

use crate::files;

/// How long a public key is.
pub const PUBLIC_BYTES: usize = 32;
/// How long what a private key is made of is.
const SEED_BYTES: usize = 32;
/// More is no envelope.
const MAX_INPUT: u64 = 64 * 1_024;

/// What `rollcall-agent order-key` is told.
#[derive(Debug, clap::Args)]
pub struct KeyArgs {
    /// Where to put the key; a file that is there is never overwritten
    file: PathBuf,
    /// The name by which hosts are to know it
    #[arg(long, default_value = "approver")]
    name: String,
}

/// What `rollcall-agent sign` is told.
#[derive(Debug, clap::Args)]
pub struct SignArgs {
    /// File that holds the key, as `order-key` made it
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The name by which hosts know it
    #[arg(long, default_value = "approver")]
    name: String,
    /// File that holds the order's envelope, or its payload alone [default: standard input]
    envelope: Option<PathBuf>,
}

/// Makes a key for signing orders, and prints the line for `hand.conf`.
///
/// # Errors
/// In words, for a person.
pub fn make(args: &KeyArgs) -> Result<(), String> {
    let name: KeyName = args.name.parse().map_err(|wrong| format!("--name {wrong}"))?;
    let mut seed = [0; SEED_BYTES];
    #[expect(clippy::disallowed_methods, reason = "a key is made of random bytes, and of nothing else")]
    getrandom::fill(&mut seed).map_err(|error| format!("the system has no random bytes: {error}"))?;
    let pair = pair(&seed)?;
    let failed = |error: io::Error| format!("cannot write {}: {error}", args.file.display());
    let mut file =
        files::private(OpenOptions::new().write(true).create_new(true)).open(&args.file).map_err(failed)?;
    writeln!(file, "{}", PADDED.encode(seed)).and_then(|()| file.sync_all()).map_err(failed)?;
    eprintln!(
        "{} holds the key: whoever has it can sign. This line is for /etc/rollcall/hand.conf:",
        args.file.display()
    );
    println!("keys = {name}:{}", PADDED.encode(pair.public_key()));
    Ok(())
}

/// Signs an order, offline: shows what it asks for, and prints the signature that its approval takes.
///
/// # Errors
/// In words, for a person.
pub fn sign(args: &SignArgs) -> Result<(), String> {
    let name: KeyName = args.name.parse().map_err(|wrong| format!("--name {wrong}"))?;
    let text = fs::read_to_string(&args.key)
        .map_err(|error| format!("cannot read {}: {error}", args.key.display()))?;
    let seed = decoded::<SEED_BYTES>(text.trim());
    let pair = pair(&seed.ok_or_else(|| format!("{} holds no key", args.key.display()))?)?;
    let input = read(args.envelope.as_deref()).map_err(|error| format!("cannot read the order: {error}"))?;
    let (payload, order) = understood(&input)?;
    eprintln!("{}", shown(&order));
    let signature = order::sign(&payload, &name, |message| pair.sign(message).as_ref().to_vec());
    println!("{}", serde_json::to_string(&signature).map_err(|error| error.to_string())?);
    Ok(())
}

/// Whether this is the key's signature of these bytes.
pub fn verifies(key: &[u8; PUBLIC_BYTES], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok()
}

/// The public key that is written in base64, of either alphabet.
pub fn public(text: &str) -> Option<[u8; PUBLIC_BYTES]> {
    decoded(text)
}

fn decoded<const BYTES: usize>(text: &str) -> Option<[u8; BYTES]> {
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(Indifferent);
    [STANDARD, URL_SAFE]
        .into_iter()
        .find_map(|alphabet| GeneralPurpose::new(&alphabet, lenient).decode(text).ok()?.try_into().ok())
}

fn pair(seed: &[u8; SEED_BYTES]) -> Result<Ed25519KeyPair, String> {
    Ed25519KeyPair::from_seed_unchecked(seed).map_err(|refused| format!("this is no key: {refused}"))
}

fn read(path: Option<&Path>) -> io::Result<String> {
    let mut text = String::new();
    match path {
        Some(path) => fs::File::open(path)?.take(MAX_INPUT).read_to_string(&mut text)?,
        None => io::stdin().take(MAX_INPUT).read_to_string(&mut text)?,
    };
    Ok(text)
}

/// The bytes to sign, from an envelope or what is in it. What is no order is not signed.
pub(super) fn understood(input: &str) -> Result<(Vec<u8>, Order), String> {
    let input = input.trim();
    let envelope = serde_json::from_str::<SignedOrder>(input).unwrap_or_else(|_| SignedOrder {
        payload: input.trim_matches('"').to_owned(),
        signatures: Vec::<Signature>::new(),
    });
    let payload = order::open(&envelope).map_err(|wrong| format!("this is no order: {wrong}"))?;
    let order: v1::Order =
        serde_json::from_slice(&payload).map_err(|error| format!("this is no order: {error}"))?;
    let order = Order::check(order).map_err(|wrong| format!("this is no order: {wrong}"))?;
    Ok((payload, order))
}

/// What a person is about to sign. Its texts were cleaned of what deceives on a terminal.
pub(super) fn shown(order: &Order) -> String {
    let Order { id, server, boot, wish, dry_run, not_after, by, reason } = order;
    let trial = if *dry_run { " (a trial: nothing is done)" } else { "" };
    let what = match wish {
        order::Wish::Signal(kind, process) => {
            let executable = process.executable.as_deref().unwrap_or("(any executable)");
            format!("{kind} {} {executable}, started {} ms after the boot", process.pid, process.start_ms)
        }
        order::Wish::Control(kind, unit) => format!("{kind} {unit}"),
    };
    format!(
        "{what}{trial}\non server {server}, boot {boot}\nasked by {by}: {reason}\norder {id}, not after {not_after} (Unix ms)"
    )
}
