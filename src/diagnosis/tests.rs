use std::sync::Arc;

use async_trait::async_trait;

use super::*;
use crate::backend::Backend;
use crate::{
    AcquireOutcome, AcquireRequest, LockRecord, MemoryBackend, Owner, ReleaseOutcome,
    ReleaseRequest, RenewOutcome, RenewRequest,
};

/// What a server does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Nothing,
    Refuses,
    GrantsTwice,
    Loses,
    Forgets,
    Keeps,
    Denies,
    DeniesList,
}

#[derive(Debug)]
struct Faulty(MemoryBackend, Fault);

fn denied() -> Error {
    Error::new(
        ErrorKind::PermissionDenied,
        "not with these rights: grant them",
    )
    .with_source("code 13")
}

#[async_trait]
impl Backend for Faulty {
    async fn acquire(&self, request: &AcquireRequest) -> Result<AcquireOutcome> {
        let mut request = request.clone();
        match self.1 {
            Fault::Denies => return Err(denied()),
            Fault::Refuses => {
                let mut other = request.clone();
                other.id = LeaseId::random();
                other.owner = Owner::random();
                self.0.acquire(&other).await?;
            }
            Fault::GrantsTwice => request.key = Key::new(request.id.as_str())?,
            _ => {}
        }
        self.0.acquire(&request).await
    }

    async fn renew(&self, request: &RenewRequest) -> Result<RenewOutcome> {
        match self.1 {
            Fault::Loses => Ok(RenewOutcome::Lost),
            _ => self.0.renew(request).await,
        }
    }

    async fn release(&self, request: &ReleaseRequest) -> Result<ReleaseOutcome> {
        match self.1 {
            Fault::Keeps => Ok(ReleaseOutcome::NotHeld),
            _ => self.0.release(request).await,
        }
    }

    async fn inspect(&self, key: &Key) -> Result<Option<LockRecord>> {
        match self.1 {
            Fault::Forgets => Ok(None),
            _ => self.0.inspect(key).await,
        }
    }

    async fn setup(&self) -> Result<()> {
        Ok(())
    }

    async fn list(&self, prefix: &str, page: Option<&str>) -> Result<crate::ListPage> {
        match self.1 {
            Fault::DeniesList => Err(denied()),
            _ => self.0.list(prefix, page).await,
        }
    }
}

async fn diagnose(fault: Fault) -> Diagnosis {
    let locks = LockClient::new(Faulty(MemoryBackend::new(), fault));
    locks.diagnose("").await.unwrap()
}

fn names(diagnosis: &Diagnosis, status: CheckStatus) -> Vec<&'static str> {
    let of_status = diagnosis
        .checks
        .iter()
        .filter(|check| check.status == status);
    of_status.map(|check| check.name).collect()
}

#[tokio::test]
async fn what_is_tried_is_told_and_what_rests_on_it_left_out() {
    use Fault::{Denies, DeniesList, Forgets, GrantsTwice, Keeps, Loses, Nothing, Refuses};
    let all = ["acquire", "renew", "read", "release", "list"];
    for (fault, fails, runs) in [
        (Nothing, None, 5),
        (Refuses, Some("acquire"), 1),
        (GrantsTwice, Some("acquire"), 1),
        (Denies, Some("acquire"), 1),
        (Loses, Some("renew"), 5),
        (Forgets, Some("read"), 5),
        (Keeps, Some("release"), 5),
        (DeniesList, None, 5),
    ] {
        let diagnosis = diagnose(fault).await;
        let run: Vec<_> = diagnosis.checks.iter().map(|check| check.name).collect();
        assert_eq!(run, all[..runs], "{fault:?}");
        let failed = names(&diagnosis, CheckStatus::Fail);
        assert_eq!(failed, Vec::from_iter(fails), "{fault:?}");
        let warned = names(&diagnosis, CheckStatus::Warn);
        assert_eq!(warned == ["list"], fault == DeniesList, "{fault:?}");
    }
}

#[tokio::test]
async fn an_error_is_told_with_its_cause_and_its_advice() {
    let diagnosis = diagnose(Fault::Denies).await;
    let check = &diagnosis.checks[0];
    assert_eq!(check.found, "not with these rights (code 13)");
    assert_eq!(check.remedy.as_deref(), Some("grant them"));
}

#[tokio::test]
async fn the_key_has_the_prefix_and_is_free_afterwards() {
    let memory = MemoryBackend::new();
    let locks = LockClient::new(memory.clone());
    locks.diagnose("billing:").await.unwrap();
    let page = memory
        .list("billing:doclock-diagnosis-", None)
        .await
        .unwrap();
    assert_eq!(page.records.len(), 1);
    assert!(page.records[0].1.holders.is_empty());
    let error = locks.diagnose(&"x".repeat(2000)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn the_worst_check_counts_and_all_are_json() {
    let mut diagnosis = Diagnosis::default();
    assert_eq!(diagnosis.status(), CheckStatus::Ok);
    assert!(diagnosis.note(Check::ok("a", "well")));
    assert!(diagnosis.note(Check::warn("b", "odd", "look")));
    assert_eq!(diagnosis.status(), CheckStatus::Warn);
    assert!(diagnosis.is_reachable());
    assert!(!diagnosis.note(Check::fail(CONNECTION, "none", "mend")));
    assert_eq!(diagnosis.status(), CheckStatus::Fail);
    assert!(!diagnosis.is_reachable());
    let json = serde_json::to_value(&diagnosis).unwrap();
    let wanted = serde_json::json!({ "checks": [
        { "name": "a", "status": "ok", "found": "well", "remedy": null },
        { "name": "b", "status": "warn", "found": "odd", "remedy": "look" },
        { "name": "connection", "status": "fail", "found": "none", "remedy": "mend" },
    ] });
    assert_eq!(json, wanted);
}

/// A quorum is asked as a whole.
#[tokio::test]
async fn a_majority_is_enough() {
    let members: Vec<Arc<dyn Backend>> = [Fault::Nothing, Fault::Nothing, Fault::Denies]
        .map(|fault| Arc::new(Faulty(MemoryBackend::new(), fault)) as Arc<dyn Backend>)
        .into();
    let locks = LockClient::new(crate::QuorumBackend::new(members).unwrap());
    let diagnosis = locks.diagnose("").await.unwrap();
    let run = names(&diagnosis, CheckStatus::Ok);
    assert_eq!(
        run,
        ["acquire", "renew", "read", "release"],
        "{diagnosis:?}"
    );
}
