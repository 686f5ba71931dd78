//! How servers come in, and how they are sent away.

use fleet::id::EnrolmentTokenId;
use registry::{Actor, Enrol, Enrolled, EnrolmentToken, Page, Refusal, ServerFilter};

use crate::store::{ALL, FIRST, NOW, Store, TOKEN, ask, server_id, token};

async fn used(store: &Store) -> u32 {
    let (tokens, _) = store.registry.enrolment_tokens(ALL).await.unwrap();
    tokens.iter().map(|token| token.used).sum()
}

pub async fn enrol_twice_is_once(store: Store) {
    let first = store.registry.enrol(&ask(1, "web")).await.unwrap();
    // Whoever repeats a request offers another id: management makes one for each.
    let again = Enrol { server: server_id(99), ..ask(1, "web") };
    assert_eq!(store.registry.enrol(&again).await.unwrap(), first);
    assert_eq!(first, Ok(Enrolled { id: server_id(1), generation: FIRST, replaces: false }));
    assert_eq!(used(&store).await, 1);
    assert_eq!(store.names(ServerFilter::default()).await, ["web"]);
}

pub async fn a_used_up_or_expired_token_still_answers_who_enrolled_with_it(store: Store) {
    store.token([1; 32], 1, NOW + 1_000).await;
    let enrol = Enrol { token_hash: [1; 32], ..ask(1, "web") };
    let first = store.registry.enrol(&enrol).await.unwrap();
    let late = Enrol { now: NOW + 5_000, ..enrol };
    assert_eq!(store.registry.enrol(&late).await.unwrap(), first);
    let other = Enrol { token_hash: [1; 32], ..ask(2, "db") };
    assert_eq!(store.registry.enrol(&other).await.unwrap(), Err(Refusal::BadToken));
    assert_eq!(used(&store).await, 1);
}

pub async fn last_use_is_taken_once(store: Store) {
    store.warm().await;
    store.token([1; 32], 3, NOW + 1_000).await;
    let mut tasks = Vec::new();
    for number in 0..12 {
        let registry = store.registry.clone();
        tasks.push(tokio::spawn(async move {
            let name = format!("web-{number}");
            registry.enrol(&Enrol { token_hash: [1; 32], ..ask(number, &name) }).await.unwrap()
        }));
    }
    let mut taken = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => taken += 1,
            Err(Refusal::BadToken) => {}
            Err(other) => panic!("every name is another: {other}"),
        }
    }
    assert_eq!((taken, used(&store).await), (3, 3));
    assert_eq!(store.names(ServerFilter::default()).await.len(), 3);
}

pub async fn one_key_at_once_is_one_server(store: Store) {
    store.warm().await;
    let mut tasks = Vec::new();
    for offered in 0..8 {
        let registry = store.registry.clone();
        tasks.push(tokio::spawn(async move {
            registry.enrol(&Enrol { server: server_id(offered), ..ask(1, "web") }).await.unwrap()
        }));
    }
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    assert!(answers[0].is_ok(), "{answers:?}");
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(used(&store).await, 1);
}

pub async fn a_bad_token_enrols_nobody(store: Store) {
    let revoked = store.token([1; 32], 5, NOW + 1_000).await;
    store.registry.revoke_enrolment_token(revoked.id, &Actor::system(), NOW).await.unwrap().unwrap();
    store.token([2; 32], 5, NOW).await;
    for (token_hash, why) in [([1; 32], "revoked"), ([2; 32], "expired"), ([3; 32], "unknown")] {
        let enrol = Enrol { token_hash, ..ask(1, "web") };
        assert_eq!(store.registry.enrol(&enrol).await.unwrap(), Err(Refusal::BadToken), "{why}");
    }
    assert!(store.names(ServerFilter::default()).await.is_empty());

    // Who enrolled before the token was revoked is refused too.
    let good = store.token([4; 32], 5, NOW + 1_000).await;
    let enrol = Enrol { token_hash: [4; 32], ..ask(1, "web") };
    assert!(store.registry.enrol(&enrol).await.unwrap().is_ok());
    store.registry.revoke_enrolment_token(good.id, &Actor::system(), NOW).await.unwrap().unwrap();
    assert_eq!(store.registry.enrol(&enrol).await.unwrap(), Err(Refusal::BadToken));
}

pub async fn name_is_unique_regardless_of_case(store: Store) {
    store.enrol(1, "  Straße-ÄΣ  ").await;
    for (number, name) in (2..).zip(["straße-äς", "STRASSE-äσ", " Straße-ÄΣ"]) {
        assert_eq!(
            store.registry.enrol(&ask(number, name)).await.unwrap(),
            Err(Refusal::NameTaken),
            "{name}"
        );
    }
    assert_eq!(store.names(ServerFilter::default()).await, ["Straße-ÄΣ"]);
    assert_eq!(
        store.names(ServerFilter { name: Some("STRASSE-ÄΣ ".into()), ..Default::default() }).await.len(),
        1
    );
}

pub async fn a_taken_name_uses_nothing_up(store: Store) {
    store.enrol(1, "web").await;
    store.token([1; 32], 1, NOW + 1_000).await;
    let taken = Enrol { token_hash: [1; 32], ..ask(2, "WEB") };
    assert_eq!(store.registry.enrol(&taken).await.unwrap(), Err(Refusal::NameTaken));
    let free = Enrol { name: "db", ..taken };
    assert_eq!(
        store.registry.enrol(&free).await.unwrap(),
        Ok(Enrolled { id: server_id(2), generation: FIRST, replaces: false })
    );
    assert_eq!(used(&store).await, 2);
}

pub async fn a_revoked_server_does_not_come_back_by_its_enrolment(store: Store) {
    let id = store.enrol(1, "web").await;
    store.registry.revoke(id, &Actor::system(), NOW).await.unwrap().unwrap();
    assert_eq!(store.registry.enrol(&ask(1, "web")).await.unwrap(), Err(Refusal::BadToken));
    assert_eq!(store.registry.enrol(&ask(2, "web")).await.unwrap(), Err(Refusal::NameTaken));
    assert_eq!(used(&store).await, 1);
}

pub async fn a_deleted_server_does_not_come_back_by_its_enrolment(store: Store) {
    store.enrol(1, "web").await;
    store.execute("DELETE FROM servers").await;
    assert_eq!(store.registry.enrol(&ask(1, "web")).await.unwrap(), Err(Refusal::BadToken));
    assert!(store.names(ServerFilter::default()).await.is_empty());
}

pub async fn revoke_raises_generation_and_denylist_version(store: Store) {
    let (id, other) = (store.enrol(1, "web").await, store.enrol(2, "db").await);
    let (before, denied) = store.registry.denylist().await.unwrap();
    assert!(denied.is_empty());
    assert_eq!(store.registry.revoke(id, &Actor::system(), NOW + 5).await.unwrap(), Ok(FIRST + 1));
    let (once, denied) = store.registry.denylist().await.unwrap();
    assert!(once > before);
    assert_eq!(denied.into_iter().collect::<Vec<_>>(), [(id, FIRST + 1)]);
    assert_eq!(store.registry.revoke(id, &Actor::system(), NOW + 6).await.unwrap(), Ok(FIRST + 2));
    let (twice, denied) = store.registry.denylist().await.unwrap();
    assert!(twice > once);
    assert_eq!(denied.into_iter().collect::<Vec<_>>(), [(id, FIRST + 2)]);

    let standing = store.registry.standing(&[id, other]).await.unwrap();
    assert_eq!((standing[&id].generation, standing[&other].generation), (FIRST + 2, FIRST));
    let server = store.server(id).await;
    assert_eq!((server.generation, server.updated_at, server.created_at), (FIRST + 2, NOW + 6, NOW));
}

pub async fn a_deleted_server_stays_on_the_denylist(store: Store) {
    let id = store.enrol(1, "web").await;
    store.registry.revoke(id, &Actor::system(), NOW).await.unwrap().unwrap();
    store.execute("DELETE FROM servers").await;
    assert_eq!(store.registry.denylist().await.unwrap().1.get(&id), Some(&(FIRST + 1)));
}

pub async fn tokens_are_listed_newest_first(store: Store) {
    for number in 1..=4u8 {
        let token = EnrolmentToken {
            id: EnrolmentTokenId::new(NOW, [number; 10]),
            uses: u32::MAX,
            used: 0,
            expires_at: NOW + 9,
            revoked_at: None,
            created_at: NOW + i64::from(number / 2),
            ..token([number; 32], u32::MAX, NOW + 9)
        };
        store.registry.make_enrolment_token(&token, [number; 32], &Actor::system()).await.unwrap();
    }
    let mut seen = Vec::new();
    for page in 1..=3 {
        let (tokens, total) = store.registry.enrolment_tokens(Page { page, page_size: 2 }).await.unwrap();
        assert_eq!(total, 5);
        seen.extend(tokens.into_iter().map(|token| token.id));
    }
    let wanted = [4, 3, 2, TOKEN[0], 1].map(|number| EnrolmentTokenId::new(NOW, [number; 10]));
    assert_eq!(seen, wanted);

    store.registry.revoke_enrolment_token(wanted[0], &Actor::system(), NOW + 7).await.unwrap().unwrap();
    store.registry.revoke_enrolment_token(wanted[0], &Actor::system(), NOW + 8).await.unwrap().unwrap();
    let (tokens, _) = store.registry.enrolment_tokens(ALL).await.unwrap();
    assert_eq!((tokens[0].revoked_at, tokens[0].uses), (Some(NOW + 7), u32::MAX));
    assert_eq!(tokens[1].revoked_at, None);
}

pub async fn a_denylist_is_whole_at_its_version(store: Store) {
    store.warm().await;
    let mut tasks = Vec::new();
    for number in 0..24 {
        let id = store.enrol(number, &format!("web-{number}")).await;
        let registry = store.registry.clone();
        tasks.push(tokio::spawn(async move { registry.revoke(id, &Actor::system(), NOW).await.unwrap() }));
    }
    let mut read = 0;
    while read < NOW + 23 {
        let (version, denied) = store.registry.denylist().await.unwrap();
        assert!(version >= read);
        let changes = i64::try_from(denied.len()).unwrap();
        assert_eq!(version, if changes == 0 { 0 } else { NOW + changes - 1 });
        read = version;
    }
    for task in tasks {
        assert_eq!(task.await.unwrap(), Ok(FIRST + 1));
    }
}

pub async fn revoking_at_once_counts_every_time(store: Store) {
    store.warm().await;
    let id = store.enrol(1, "web").await;
    let mut tasks = Vec::new();
    for _ in 0..10 {
        let registry = store.registry.clone();
        tasks.push(tokio::spawn(async move {
            registry.revoke(id, &Actor::system(), NOW).await.unwrap().unwrap()
        }));
    }
    let mut generations = Vec::new();
    for task in tasks {
        generations.push(task.await.unwrap());
    }
    generations.sort_unstable();
    assert_eq!(generations, (FIRST + 1..FIRST + 11).collect::<Vec<_>>());
    let (version, denied) = store.registry.denylist().await.unwrap();
    assert_eq!((version, denied.get(&id)), (NOW + 9, Some(&(FIRST + 10))));
}

pub async fn whatever_a_restored_registry_forgot_a_later_revocation_is_above_it(store: Store) {
    let id = store.enrol(1, "web").await;
    let backup = format!("UPDATE servers SET generation = {FIRST}");
    let other = Enrol { token_hash: [9; 32], now: NOW + 60_000, ..ask(5, "db") };
    let bound = EnrolmentToken { server: Some(id), ..token([9; 32], 1, NOW + 90_000) };
    store.registry.make_enrolment_token(&bound, [9; 32], &Actor::system()).await.unwrap();
    let Enrolled { generation: lost, replaces, .. } = store.registry.enrol(&other).await.unwrap().unwrap();
    assert!(replaces);
    let (seen, _) = store.registry.denylist().await.unwrap();
    store.execute(&backup).await;
    store.execute("UPDATE versions SET version = 0").await;
    store.execute("DELETE FROM revocations").await;
    let revoked = store.registry.revoke(id, &Actor::system(), NOW + 120_000).await.unwrap().unwrap();
    assert!(revoked > lost, "{revoked} after {lost}");
    let (version, denied) = store.registry.denylist().await.unwrap();
    assert!(version > seen && denied[&id] == revoked, "{version} after {seen}: {denied:?}");
    // So too when it is deleted.
    store.execute(&backup).await;
    store.execute("DELETE FROM revocations").await;
    store.registry.delete_server(id, None, &Actor::system(), NOW + 120_000).await.unwrap().unwrap();
    assert!(store.registry.denylist().await.unwrap().1[&id] > lost);
}

pub async fn generations_that_were_counted_stay_good_until_the_next_is_issued(store: Store) {
    let id = store.enrol(1, "web").await;
    store.execute("UPDATE servers SET generation = 2").await;
    assert_eq!(store.registry.standing(&[id]).await.unwrap()[&id].generation, 2);
    assert_eq!(store.registry.revoke(id, &Actor::system(), NOW).await.unwrap(), Ok(FIRST));
}

pub async fn a_server_that_was_never_known_is_adopted_once_with_its_credential(store: Store) {
    let (known, gone, id) = (store.enrol(1, "web").await, store.enrol(2, "db").await, server_id(9));
    let me = &Actor::system();
    store.registry.delete_server(gone, None, me, NOW).await.unwrap().unwrap();
    assert_eq!(store.registry.revoked(&[known, gone, id]).await.unwrap(), [gone].into());
    let adopt = async |id, name| store.registry.adopt(id, FIRST + 5, name, me, NOW + 1).await.unwrap();
    for one in [known, gone] {
        assert_eq!(adopt(one, "new").await, Err(Refusal::NotFound));
    }
    assert_eq!(adopt(id, "WEB").await, Err(Refusal::NameTaken));
    assert_eq!(adopt(id, " new ").await, Ok(()));
    assert_eq!(adopt(id, "newer").await, Err(Refusal::NotFound));
    let server = store.server(id).await;
    assert_eq!((server.name.as_str(), server.generation), ("new", FIRST + 5));
    assert_eq!((server.enrolled_at, server.created_at), (Some(NOW + 1), NOW + 1));
    assert_eq!(store.names(ServerFilter { q: Some("new".into()), ..Default::default() }).await, ["new"]);
    assert_eq!(store.actions().await.last().unwrap(), "server.adopt");
    assert_eq!(store.registry.revoke(id, me, NOW).await.unwrap(), Ok(FIRST + 6));
}
