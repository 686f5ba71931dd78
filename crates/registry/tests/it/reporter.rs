//! The lease of the agent that tells when no gate answers.

use fleet::{
    Millis, ServerId,
    alert::lease::{APART, LEASE, Lease, wrong_after},
};
use registry::Actor;

use crate::store::{NOW, Store, server_id};

fn lease(server: u64, until: Millis) -> Lease {
    Lease { server: server_id(server), until }
}

/// Every lease that may stand, against every one that may be written, is as the rule has it.
pub async fn a_lease_is_written_as_the_rule_says(store: Store) {
    let registry = &store.registry;
    assert_eq!(registry.reporter_lease().await.unwrap(), None);
    let ends = [
        NOW - APART - 1,
        NOW - APART,
        NOW - APART + 1,
        NOW,
        NOW + LEASE,
        wrong_after(NOW),
        wrong_after(NOW) + 1,
    ];
    for held in ends.map(|until| lease(1, until)) {
        for new in ends.iter().flat_map(|until| [lease(1, *until), lease(2, *until)]) {
            store.execute("DELETE FROM leases").await;
            assert!(registry.hold_reporter_lease(held, NOW).await.unwrap());
            let written = registry.hold_reporter_lease(new, NOW).await.unwrap();
            let renewed = held.server == new.server && held.until < new.until;
            assert_eq!(written, held.is_free(NOW) || renewed, "{new:?} over {held:?}");
            let stands = if written { new } else { held };
            assert_eq!(registry.reporter_lease().await.unwrap(), Some(stands));
        }
    }
}

pub async fn of_managements_that_elect_at_once_one_does(store: Store) {
    store.warm().await;
    let mut tasks = Vec::new();
    for number in 1..=8 {
        let registry = store.registry.clone();
        tasks.push(tokio::spawn(async move {
            registry.hold_reporter_lease(lease(number, NOW + LEASE), NOW).await.unwrap()
        }));
    }
    let mut elected = 0;
    for task in tasks {
        elected += u32::from(task.await.unwrap());
    }
    assert_eq!(elected, 1);
}

pub async fn after_a_restore_the_lease_is_nobodys_for_as_long_as_one_may_run(store: Store) {
    let registry = &store.registry;
    registry.after_restore(None, &Actor::system(), NOW).await.unwrap();
    assert_eq!(registry.reporter_lease().await.unwrap().map(|lease| lease.until), None);
    assert!(registry.hold_reporter_lease(lease(1, NOW - LEASE), NOW).await.unwrap());
    assert!(registry.take_lease("rolling", "worker", NOW, NOW + 60).await.unwrap());
    registry.after_restore(None, &Actor::system(), NOW).await.unwrap();
    let nobodys = Lease { server: ServerId::from_bytes([0; 16]), until: NOW + LEASE };
    assert_eq!(registry.reporter_lease().await.unwrap(), Some(nobodys));
    let late = NOW + LEASE + APART;
    assert!(!registry.hold_reporter_lease(lease(1, late + LEASE - 1), late - 1).await.unwrap());
    assert!(registry.hold_reporter_lease(lease(1, late + LEASE), late).await.unwrap());
    assert!(!registry.take_lease("rolling", "another", NOW, NOW + 60).await.unwrap(), "others stay");
}
