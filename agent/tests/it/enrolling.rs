use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use rollcall_agent::{AgentError, Settings, Token, healthcheck, run};
use testkit::eventually;
use tokio_util::sync::CancellationToken;

use crate::rig::Rig;

#[tokio::test]
async fn an_agent_enrols_and_its_measurements_arrive() {
    let mut rig = Rig::enrolled().await;
    let state = rig.dir.path().join("state");
    eventually("the state says so", async || healthcheck(&state).is_ok()).await;
    let first = rig.gate.script().taken.first_key_value().unwrap().1.clone();
    let newest = rig.gate.newest().unwrap();
    assert_eq!(first.covers_ms, 0);
    assert!(newest.covers_ms > 0);
    let host = first.host.unwrap();
    assert_eq!(host.agent_version.as_deref(), Some(env!("CARGO_PKG_VERSION")));
    assert!(host.hostname.is_some() && host.boot_at.is_some());
    assert!(first.memory.unwrap().total > Some(0));
    assert!(newest.host.is_none() && newest.cpu.unwrap().total.is_some());
    assert!(newest.networks.iter().any(|network| network.name.is_some()));
    let mode = fs::metadata(state.join("state.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    // A second agent keeps off.
    let second = run(rig.settings(), CancellationToken::new()).await;
    assert!(matches!(second, Err(AgentError::Locked(_))));
    rig.stop().await;
    assert!(rig.held().is_empty());
    rig.start();
    let before = rig.gate.taken();
    eventually("it goes on after a restart", async || rig.gate.taken() > before + 1).await;
    assert_eq!(rig.gate.script().asked.len(), 1);
    rig.gate.assert_no_overlap();
}

#[tokio::test]
async fn a_lost_reply_burns_no_token_and_a_mended_file_is_read() {
    let rig = Rig::new().await;
    let token = rig.dir.path().join("token");
    fs::write(&token, "expired\n").unwrap();
    rig.gate.script().enrolments = vec![0, 503, 401];
    let settings = Settings { token: Token::File(token.clone()), ..rig.settings() };
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(run(settings, shutdown.clone()));
    eventually("the bad token is refused", async || rig.gate.script().asked.len() == 3).await;
    let state = rig.dir.path().join("state");
    eventually("the reason is known", async || {
        healthcheck(&state).unwrap_err().to_string().contains("the token is unknown, used up or expired")
    })
    .await;
    fs::write(&token, "fresh\n").unwrap();
    eventually("it enrols", async || rig.gate.taken() > 0).await;
    shutdown.cancel();
    task.await.unwrap().unwrap();
    let asked = rig.gate.script().asked.clone();
    assert_eq!(asked.len(), 4);
    assert!(
        asked.iter().all(|asked| asked["enrolment_key"] == asked[0]["enrolment_key"] || asked[0].is_null())
    );
    assert_eq!((&asked[0]["token"], &asked[3]["token"]), (&"expired".into(), &"fresh".into()));
    assert_eq!(asked[0]["name"], "host");
}

#[tokio::test]
async fn whatever_a_refusal_says_healthcheck_prints_one_short_clean_line() {
    let mut rig = Rig::new().await;
    {
        let mut script = rig.gate.script();
        script.enrolments = vec![401];
        script.detail = format!("\u{1b}[2Jgone\r\nall is well{}", "x".repeat(60_000));
    }
    rig.start();
    let state = rig.dir.path().join("state");
    eventually("the reason is known", async || {
        healthcheck(&state).unwrap_err().to_string().contains("all is well")
    })
    .await;
    let told = healthcheck(&state).unwrap_err().to_string();
    assert!(told.len() < 1_000 && !told.contains(char::is_control), "{told:?}");
    rig.stop().await;
}

#[tokio::test]
async fn without_a_token_it_says_so_and_opens_no_socket() {
    let rig = Rig::new().await;
    let missing = PathBuf::from("/nowhere/token");
    for (token, advice) in [(Token::Absent, "ROLLCALL_TOKEN_FILE"), (Token::File(missing), "/nowhere/token")]
    {
        let error = run(Settings { token, ..rig.settings() }, CancellationToken::new()).await.unwrap_err();
        assert!(error.to_string().contains(advice), "{error}");
    }
    assert!(rig.gate.script().asked.is_empty());
}
