//! The exit codes, and the line on stderr that comes with each that is ours.

use std::fs;

use anyhow::Result;

use super::command::{End, MEMORY, Notes, doclock, ended, plain, signal};
use crate::processes::site::{Site, dynamodb_url, mongodb_url};
use crate::support::port::{free_port, loopback};
use crate::support::proxy::Proxy;
use crate::support::raw::http_reply;
use crate::support::servers;
use crate::support::wire::Wire;

/// One line of ours, which says this.
#[track_caller]
fn assert_says(end: &End, code: i32, says: &str) {
    assert_eq!(end.code, Some(code), "{end:?}");
    assert!(end.stderr.contains(says), "{end:?}");
    assert!(end.stderr.starts_with("doclock: "), "{end:?}");
    assert_eq!(end.stderr.lines().count(), 1, "{end:?}");
}

#[tokio::test]
async fn the_commands_own_code_is_passed_on() -> Result<()> {
    for code in [0, 1, 64, 75, 76, 255] {
        let end = ended(doclock(MEMORY, "run k", &format!("exit {code}"))).await?;
        assert_eq!(end.code, Some(code));
        assert_eq!(end.stderr, "");
    }
    Ok(())
}

#[tokio::test]
async fn a_signal_that_ended_it_is_told_as_a_shell_does() -> Result<()> {
    for signal in [1, 6, 9, 15] {
        let end = ended(doclock(MEMORY, "run k", &format!("kill -{signal} $$"))).await?;
        assert_eq!(end.code, Some(128 + signal), "{end:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_command_that_is_not_there_takes_no_lock() -> Result<()> {
    let nobody = dynamodb_url(&format!("http://{}", loopback(free_port()?)), "locks");
    for name in ["no-such-command", "/no/such/command"] {
        let end = ended(plain(&nobody, &format!("run k -- {name}"))).await?;
        assert_says(&end, 127, "command not found");
    }
    let end = ended(plain(&nobody, "run k -- /etc/passwd")).await?;
    assert_says(&end, 126, "permission denied");
    Ok(())
}

/// The look for it is not all: what is there may not be a program.
#[tokio::test]
async fn a_command_that_cannot_be_run() -> Result<()> {
    let notes = Notes::new()?;
    let path = notes.path("broken");
    fs::write(&path, "#!/no/such/interpreter\n")?;
    let end = ended(doclock(
        MEMORY,
        "run k",
        &format!("chmod +x {}", path.display()),
    ))
    .await?;
    assert_eq!(end.code, Some(0));
    let end = ended(plain(MEMORY, &format!("run k -- {}", path.display()))).await?;
    assert_says(&end, 127, "No such file");
    Ok(())
}

#[tokio::test]
async fn bad_usage() -> Result<()> {
    for args in [
        "",
        "run",
        "run k",
        "run k true",
        "walk k -- true",
        "run --ttl 30 k -- true",
        "run --ttl soon k -- true",
        "run --wait 1s --no-wait k -- true",
        "run --shared --permits 2 k -- true",
        "run --once-per 1h --slot 2030-01-31T03:00:00Z k -- true",
        "run --once-per 1h --shared k -- true",
        "run --slot tomorrow k -- true",
        "run --at-least-once k -- true",
        "run --busy-exit-code 300 k -- true",
    ] {
        let end = ended(plain(MEMORY, args)).await?;
        assert_eq!(end.code, Some(64), "{args}: {end:?}");
        assert_eq!(end.stdout, "");
    }
    // What only the library knows.
    for (args, says) in [
        ("run --ttl 1ms k -- true", "100 ms"),
        ("run --permits 0 k -- true", "between 1 and 256"),
        ("run --once-per 1s k -- true", "100 years"),
    ] {
        assert_says(&ended(plain(MEMORY, args)).await?, 64, says);
    }
    Ok(())
}

#[tokio::test]
async fn what_was_asked_for_is_no_mistake() -> Result<()> {
    for (args, says) in [
        ("--version", "doclock "),
        ("--help", "Exit codes:"),
        ("run -h", "Examples:"),
        ("run --help", "Exit codes:"),
    ] {
        let end = ended(plain("mongodb://user:hunter2@h/db", args)).await?;
        assert_eq!((end.code, end.stderr.as_str()), (Some(0), ""), "{args}");
        assert!(end.stdout.contains(says), "{args}: {}", end.stdout);
        assert!(!end.stdout.contains("hunter2"), "{args}: {}", end.stdout);
    }
    Ok(())
}

#[tokio::test]
async fn a_bad_url() -> Result<()> {
    let mut command = plain(MEMORY, "run k -- true");
    command.env_remove("DOCLOCK_URL");
    assert_says(&ended(command).await?, 78, "DOCLOCK_URL");
    for url in [
        "mongodb://user:hunter2@localhost",
        "redis://user:hunter2@localhost",
        "dynamodb://user:hunter2@eu-west-1/locks",
    ] {
        let end = ended(plain(url, "run k -- true")).await?;
        assert_says(&end, 78, "URL");
        assert!(!end.stderr.contains("hunter2"), "{end:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_unreachable_database() -> Result<()> {
    let nobody = loopback(free_port()?);
    let mongodb = format!("mongodb://{nobody}/?directConnection=true");
    for url in [
        mongodb_url(&mongodb, "locks"),
        dynamodb_url(&format!("http://{nobody}"), "locks"),
    ] {
        for wait in ["--no-wait", "--wait 1s"] {
            let end = ended(plain(&url, &format!("run {wait} k -- true"))).await?;
            assert_says(&end, 69, "reach");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_missing_table_or_right() -> Result<()> {
    if Site::Dynoxide.is_left_out() {
        return Ok(());
    }
    let server = servers::dynoxide_url();
    let missing = dynamodb_url(server, "no-such-table");
    let end = ended(plain(&missing, "run k -- true")).await?;
    assert_says(&end, 78, "no-such-table");
    let proxy = Proxy::start(servers::addr_of(server)?, Wire::Http).await?;
    let body = r#"{"__type":"AccessDeniedException","message":"not yours"}"#;
    proxy.answer_instead("UpdateItem", 9, http_reply("400 Bad Request", &[], body));
    let refused = dynamodb_url(&proxy.http_url(), "no-such-table");
    let end = ended(plain(&refused, "run k -- true")).await?;
    assert_says(&end, 78, "not yours");
    Ok(())
}

#[tokio::test]
async fn a_lock_that_others_hold() -> Result<()> {
    if Site::Dynoxide.is_left_out() {
        return Ok(());
    }
    let (url, notes) = (Site::Dynoxide.fresh().await?, Notes::new()?);
    let script = "echo up > up; while :; do sleep 0.02; done";
    let mut holder = notes.doclock(&url, "run k", script).spawn()?;
    notes.written("up").await?;
    for wait in ["--no-wait", "--wait 100ms"] {
        let end = ended(plain(&url, &format!("run {wait} k -- true"))).await?;
        assert_says(&end, 75, "held");
    }
    let end = ended(plain(&url, "run --no-wait --busy-exit-code 0 k -- false")).await?;
    assert_says(&end, 0, "held");
    signal(&holder, nix::sys::signal::Signal::SIGTERM)?;
    assert_eq!(holder.wait().await?.code(), Some(143));
    // It was given back.
    let end = ended(plain(&url, "run --no-wait k -- true")).await?;
    assert_eq!(end.code, Some(0), "{end:?}");
    Ok(())
}
