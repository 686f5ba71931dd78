//! What the binary does instead of running. Here and not in `main.rs`, which would compile the stores a second time.

use std::{fs, path::Path};

use actix_web::rt::System;
use anyhow::{Context, bail};
use chassis::{Clock, Mistakes};
use history::History;
use registry::Registry;
use server_management::settings::ResetArguments;

use crate::{FIRST_USER, data::DataDir, open_registry};

/// Sets a user's password in the data folder of a suite that does not run.
///
/// # Errors
/// When it runs, when there is no such folder or user, or when the password is not taken. Nothing is changed then.
pub fn reset_password(folder: &Path, reset: &ResetArguments) -> anyhow::Result<()> {
    System::new().block_on(reset_in(folder, reset))
}

async fn reset_in(folder: &Path, reset: &ResetArguments) -> anyhow::Result<()> {
    let mut mistakes = Mistakes::default();
    let given = ResetArguments::given(&mut mistakes);
    mistakes.check()?;
    let (data, registry) = stopped(folder).await?;
    let done = reset.run(&registry, given, &Clock::system()).await;
    registry.close().await;
    let generated = data.join("admin-password");
    if done?.username == FIRST_USER && generated.exists() {
        fs::remove_file(&generated).with_context(|| format!("cannot remove {}", generated.display()))?;
        eprintln!("removed {}, which held the password before", generated.display());
    }
    Ok(())
}

/// Ends what a restored backup brought back into the data folder of a suite that does not run, and says what else there is
/// to do.
///
/// # Errors
/// When it runs, or when there is no such folder. Nothing is changed then.
pub fn after_restore(folder: &Path) -> anyhow::Result<()> {
    System::new().block_on(after_restore_in(folder))
}

async fn after_restore_in(folder: &Path) -> anyhow::Result<()> {
    let (_data, registry) = stopped(folder).await?;
    // The gate of the next start reads the denylist of this very registry: there is none beside it that knows more.
    let done = server_management::after_restore(&registry, None, &Clock::system()).await;
    registry.close().await;
    print!("{}", done?.tell("rollcall"));
    Ok(())
}

/// Writes the history of a suite that does not run anew, as small as what is in it, and says how much that gave back.
///
/// # Errors
/// When it runs, or when there is no history, or no room for the copy. The history is as it was then.
pub fn compact(folder: &Path) -> anyhow::Result<()> {
    let path = folder.join("history.db");
    if !path.exists() {
        bail!("there is no history.db in {}; name the folder of the suite by --data", folder.display());
    }
    let _data = DataDir::take(folder)?;
    let compacted = System::new().block_on(History::compact_sqlite(&path));
    let (before, after) = compacted.with_context(|| format!("cannot compact {}", path.display()))?;
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    println!(
        "history.db had {:.1} MB and has {:.1} MB now: {:.1} MB are free again",
        megabytes(before),
        megabytes(after),
        megabytes(before.saturating_sub(after))
    );
    Ok(())
}

/// The folder of a suite that does not run, and its registry.
async fn stopped(folder: &Path) -> anyhow::Result<(DataDir, Registry)> {
    // Nobody wants a new suite for a folder's misspelt name.
    if !folder.join("registry.db").exists() {
        bail!("there is no registry.db in {}; name the folder of the suite by --data", folder.display());
    }
    let data = DataDir::take(folder)?;
    data.check_registry()?;
    let registry = open_registry(&data).await?;
    Ok((data, registry))
}
