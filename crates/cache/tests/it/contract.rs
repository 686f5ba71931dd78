//! One promise a case.

use cache::{Cache, Denylist, Latest, Noticed, Seen, Unknown, Writer};
use fleet::{Millis, ServerId, alert::lease::Lease};

/// Of the service in which the cache is; Redis goes by its own, which is far after the times of these cases.
const NOW: Millis = 1_790_000_000_000;

pub fn id(number: u16) -> ServerId {
    ServerId::new(i64::from(number), [7; 10])
}

pub fn seen(server: u16, received_at: Millis, sampled_at: Millis) -> Seen {
    let latest = format!("{{\"sampled_at\":{sampled_at}}}").into();
    Seen { server: id(server), received_at, silent_at: received_at + 120, latest, sampled_at }
}

pub async fn latest(cache: &Cache, server: u16) -> Option<Latest> {
    cache.latest(&[id(server)]).await.unwrap().remove(&id(server))
}

pub async fn silent(cache: &Cache, from: Millis, to: Millis) -> Vec<(ServerId, Millis)> {
    cache.silent(from, to).await.unwrap()
}

pub async fn what_was_seen_is_there(cache: Cache) {
    cache.see(vec![seen(1, 100, 90), seen(2, 100, 95)], NOW).await.unwrap();
    let both = cache.latest(&[id(1), id(2), id(3)]).await.unwrap();
    assert_eq!(both.len(), 2);
    let expected = Latest { received_at: 100, sampled_at: 95, snapshot: "{\"sampled_at\":95}".into() };
    assert_eq!(both[&id(2)], expected);
}

pub async fn older_never_wins(cache: Cache) {
    cache.see(vec![seen(1, 200, 190)], NOW).await.unwrap();
    let before = latest(&cache, 1).await;
    cache.see(vec![seen(1, 100, 90), seen(1, 200, 190)], NOW).await.unwrap();
    assert_eq!(latest(&cache, 1).await, before);
    assert_eq!(silent(&cache, 0, 1_000).await, [(id(1), 320)]);
}

pub async fn back_fill_moves_silence_but_not_the_latest(cache: Cache) {
    cache.see(vec![seen(1, 200, 190), seen(1, 300, 20)], NOW).await.unwrap();
    let known = latest(&cache, 1).await.unwrap();
    assert_eq!((known.received_at, known.sampled_at), (300, 190));
    assert_eq!(silent(&cache, 0, 1_000).await, [(id(1), 420)]);
}

pub async fn a_shorter_interval_counts_at_once(cache: Cache) {
    let hourly = Seen { silent_at: 14_400_100, ..seen(1, 100, 90) };
    cache.see(vec![hourly.clone()], NOW).await.unwrap();
    cache.see(vec![seen(1, 200, 190)], NOW).await.unwrap();
    assert_eq!(silent(&cache, 0, Millis::MAX).await, [(id(1), 320)]);
    cache.see(vec![hourly], NOW).await.unwrap();
    assert_eq!(silent(&cache, 0, Millis::MAX).await, [(id(1), 320)], "delivered again");
    cache.see(vec![Seen { silent_at: 330, ..seen(1, 200, 190) }, seen(1, 200, 190)], NOW).await.unwrap();
    assert_eq!(silent(&cache, 0, Millis::MAX).await, [(id(1), 330)], "at a tie the later moment");
}

pub async fn what_was_heard_ahead_of_the_clock_loses_to_any_beat(cache: Cache) {
    let now = cache.clock().await.unwrap().unwrap_or(NOW);
    let ahead = now + 7_200_000;
    cache.see(vec![seen(1, ahead, now), seen(2, now + 20_000, now)], now).await.unwrap();
    cache.see(vec![seen(1, now - 500, now - 500), seen(2, now, now)], now).await.unwrap();
    let by_id = async || {
        let mut all = silent(&cache, 0, Millis::MAX).await;
        all.sort_unstable();
        all
    };
    assert_eq!(by_id().await, [(id(1), now - 380), (id(2), now + 20_120)]);
    let known = latest(&cache, 1).await.unwrap();
    assert_eq!((known.received_at, known.sampled_at), (now - 500, now));
}

pub async fn what_was_heard_ahead_of_the_clock_is_taken_as_heard_now(cache: Cache) {
    let now = cache.clock().await.unwrap().unwrap_or(NOW);
    // More than one part of Redis' set.
    let ahead = (0..600).map(|number| seen(number, now + 7_200_000, now)).collect();
    cache.see(ahead, now).await.unwrap();
    cache.see(vec![seen(601, now + 20_000, now), seen(602, now - 9_000, now)], now).await.unwrap();
    cache.correct(now).await.unwrap();
    let (mut moved, mut kept) = (0, Vec::new());
    for (server, at) in silent(&cache, 0, Millis::MAX).await {
        match [id(601), id(602)].contains(&server) {
            true => kept.push((server, at)),
            false => {
                // Redis' clock went on meanwhile.
                assert!((now + 120..now + 20_000).contains(&at), "{at} at {now}");
                moved += 1;
            }
        }
    }
    kept.sort_unstable();
    assert_eq!((moved, kept), (600, vec![(id(601), now + 20_120), (id(602), now - 8_880)]));
    let known = latest(&cache, 7).await.unwrap();
    assert!((now..now + 20_000).contains(&known.received_at));
    assert_eq!(&*known.snapshot, format!("{{\"sampled_at\":{now}}}"));
}

pub async fn silent_is_a_half_open_range_in_order(cache: Cache) {
    let servers = [(3, 300), (1, 100), (2, 200), (4, 400)];
    cache.see(servers.map(|(server, at)| seen(server, at, at)).to_vec(), NOW).await.unwrap();
    assert_eq!(silent(&cache, 220, 420).await, [(id(1), 220), (id(2), 320)]);
    assert_eq!(silent(&cache, 220, 421).await.len(), 3);
    assert_eq!(silent(&cache, 221, 421).await.len(), 2);
    assert_eq!(silent(&cache, 421, 220).await, []);
    assert_eq!(silent(&cache, 320, 320).await, []);
}

pub async fn a_server_that_answers_again_is_not_silent(cache: Cache) {
    cache.see(vec![seen(1, 100, 100)], NOW).await.unwrap();
    assert_eq!(silent(&cache, 0, 500).await.len(), 1);
    cache.see(vec![seen(1, 600, 600)], NOW).await.unwrap();
    assert_eq!(silent(&cache, 0, 500).await, []);
    assert_eq!(cache.silent_at(&[id(2), id(1)]).await.unwrap(), [(id(1), 720)].into());
    assert_eq!(cache.silent_at(&[]).await.unwrap(), [].into());
}

pub async fn a_hundred_thousand_beats_of_a_thousand_servers_are_a_thousand_entries(cache: Cache) {
    for beat in 0..100 {
        cache.see((0..1_000).map(|server| seen(server, beat, beat)).collect(), NOW).await.unwrap();
    }
    assert_eq!(silent(&cache, Millis::MIN, Millis::MAX).await.len(), 1_000);
}

pub async fn an_older_denylist_never_wins(cache: Cache) {
    assert_eq!(cache.denylist().await.unwrap(), None);
    let newer = Denylist { version: 7, lowest: [(id(1), 2)].into() };
    cache.put_denylist(newer.clone()).await.unwrap();
    cache.put_denylist(Denylist { version: 6, lowest: [(id(2), 1)].into() }).await.unwrap();
    assert_eq!(cache.denylist().await.unwrap(), Some(newer));
    let newest = Denylist { version: 8, ..Denylist::default() };
    cache.put_denylist(newest.clone()).await.unwrap();
    assert_eq!(cache.denylist().await.unwrap(), Some(newest));
}

pub async fn an_unknown_server_is_listed_once_by_its_newest_credential_for_a_day(cache: Cache) {
    let unknown = |server, generation, last_seen| Unknown { server: id(server), generation, last_seen };
    assert_eq!(cache.unknown(NOW).await.unwrap(), []);
    cache.note_unknown(&[unknown(2, 7, NOW), unknown(1, 5, NOW + 1)]).await.unwrap();
    cache.note_unknown(&[unknown(1, 6, NOW + 2), unknown(1, 5, NOW + 3)]).await.unwrap();
    let both = [unknown(1, 6, NOW + 3), unknown(2, 7, NOW)];
    assert_eq!(cache.unknown(NOW + 9).await.unwrap(), both);
    let day = 24 * 3_600_000;
    assert_eq!(cache.unknown(NOW + day + 1).await.unwrap(), both[..1]);
    cache.forget_unknown(&[id(1), id(3)]).await.unwrap();
    let left = cache.unknown(NOW).await.unwrap();
    assert!(left.iter().all(|one| one.server == id(2)), "{left:?}");
}

pub async fn at_most_ten_thousand_unknown_servers_are_remembered_the_newest(cache: Cache) {
    let unknown = |number: u16| {
        let mut bytes = [7; 16];
        bytes[14..].copy_from_slice(&number.to_be_bytes());
        Unknown { server: ServerId::from_bytes(bytes), generation: 1, last_seen: NOW + i64::from(number) }
    };
    cache.note_unknown(&(0..10_100).map(unknown).collect::<Vec<_>>()).await.unwrap();
    let listed = cache.unknown(NOW).await.unwrap();
    assert_eq!((listed.len(), listed[0]), (10_000, unknown(100)));
}

pub async fn who_would_tell_is_remembered_for_a_day_and_the_lease_is_the_one_put_last(cache: Cache) {
    assert_eq!(cache.reporters(NOW).await.unwrap(), []);
    cache.note_reporters(&[(id(2), NOW), (id(1), NOW + 1)]).await.unwrap();
    cache.note_reporters(&[(id(1), NOW + 9)]).await.unwrap();
    assert_eq!(cache.reporters(NOW + 9).await.unwrap(), [id(1), id(2)]);
    assert_eq!(cache.reporters(NOW + 24 * 3_600_000 + 1).await.unwrap(), [id(1)]);
    cache.note_reporters(&[]).await.unwrap();

    assert_eq!(cache.reporter_lease().await.unwrap(), None);
    for (server, until) in [(1, NOW + 180_000), (2, NOW + 400_000), (1, NOW + 180_000)] {
        let lease = Lease { server: id(server), until };
        cache.put_reporter_lease(lease).await.unwrap();
        assert_eq!(cache.reporter_lease().await.unwrap(), Some(lease));
    }
}

pub async fn at_most_a_thousand_agents_are_remembered_that_would_tell(cache: Cache) {
    let said = (0..1_100).map(|number| (id(number), NOW + i64::from(number)));
    cache.note_reporters(&said.collect::<Vec<_>>()).await.unwrap();
    let listed = cache.reporters(NOW).await.unwrap();
    assert_eq!((listed.len(), listed[0]), (1_000, id(100)));
}

pub async fn what_workers_wrote_is_added_up_and_forgotten_after_a_minute(cache: Cache) {
    let writer = |server, bytes, snapshots| Writer { server: id(server), bytes, snapshots };
    assert_eq!(cache.writers(NOW).await.unwrap(), []);
    cache.put_writers("worker-a", &[writer(1, 70, 7), writer(2, 60, 6)], NOW).await.unwrap();
    cache.put_writers("worker-b", &[writer(2, 20, 2), writer(3, 5, 1)], NOW + 30_000).await.unwrap();
    let both = [writer(2, 80, 8), writer(1, 70, 7), writer(3, 5, 1)];
    assert_eq!(cache.writers(NOW + 30_000).await.unwrap(), both);
    assert_eq!(cache.writers(NOW - 20_000).await.unwrap(), both, "by a clock that is behind");
    // What a worker tells takes the place of what it told; another one is gone.
    cache.put_writers("worker-b", &[writer(3, 4, 1)], NOW + 70_000).await.unwrap();
    assert_eq!(cache.writers(NOW + 70_000).await.unwrap(), [writer(3, 4, 1)]);
    assert_eq!(cache.writers(NOW).await.unwrap(), [], "and forgotten");
    cache.put_writers("worker-b", &[], NOW + 70_000).await.unwrap();
    let many: Vec<Writer> = (1..=30).map(|number| writer(number, number.into(), 1)).collect();
    cache.put_writers("worker-c", &many, NOW + 70_000).await.unwrap();
    let most = cache.writers(NOW + 70_000).await.unwrap();
    assert_eq!((most.len(), most[0]), (10, writer(30, 30, 1)));
}

pub async fn failures_count_within_their_window(cache: Cache) {
    for at in [1_000, 2_000, 3_000] {
        cache.fail("admin", at, 2_000).await.unwrap();
    }
    assert_eq!(cache.failures("admin", 3_000, 2_000).await.unwrap(), (2, Some(2_000)));
    assert_eq!(cache.failures("admin", 4_000, 2_000).await.unwrap(), (1, Some(3_000)));
    assert_eq!(cache.failures("admin", 5_000, 2_000).await.unwrap(), (0, None));
}

pub async fn keys_fail_apart(cache: Cache) {
    cache.fail("admin", 1_000, 60_000).await.unwrap();
    assert_eq!(cache.failures("admin", 1_000, 60_000).await.unwrap(), (1, Some(1_000)));
    assert_eq!(cache.failures("Admin", 1_000, 60_000).await.unwrap(), (0, None));
}

pub async fn a_key_has_at_most_so_many_failures(cache: Cache) {
    for at in 0..150 {
        cache.fail("admin", at, 60_000).await.unwrap();
    }
    assert_eq!(cache.failures("admin", 150, 60_000).await.unwrap(), (cache::MOST_COUNTED, Some(50)));
}

pub async fn failures_of_one_moment_all_count(cache: Cache) {
    for _ in 0..3 {
        cache.fail("admin", 1_000, 60_000).await.unwrap();
    }
    assert_eq!(cache.failures("admin", 1_000, 60_000).await.unwrap(), (3, Some(1_000)));
}

pub async fn who_is_silent_for_a_week_is_no_longer_listed(cache: Cache) {
    const WEEK: Millis = 7 * 86_400_000;
    cache.see(vec![seen(1, 100, 100), seen(2, 300, 300)], NOW).await.unwrap();
    cache.see(vec![seen(3, WEEK + 221, WEEK)], NOW).await.unwrap();
    assert_eq!(silent(&cache, 0, 1_000).await, [(id(2), 420)]);
}

pub async fn nothing_seen_and_nobody_asked_after_are_fine(cache: Cache) {
    cache.see(Vec::new(), NOW).await.unwrap();
    assert!(cache.latest(&[]).await.unwrap().is_empty());
    assert_eq!(silent(&cache, 0, Millis::MAX).await, []);
}

/// What changed, in order.
fn told(noticed: &Noticed) -> Vec<(ServerId, Option<&str>)> {
    let mut told: Vec<_> =
        noticed.notices.iter().map(|(server, notice)| (*server, notice.as_deref())).collect();
    told.sort_unstable();
    told
}

pub async fn a_notice_is_told_when_it_changes_and_when_it_is_gone(cache: Cache) {
    let empty = cache.notices(None).await.unwrap();
    assert_eq!((empty.whole, told(&empty)), (true, vec![]));
    cache.put_notice(id(1), Some("a")).await.unwrap();
    cache.put_notice(id(2), Some("b")).await.unwrap();
    let first = cache.notices(Some(empty.version)).await.unwrap();
    assert_eq!(told(&first), [(id(1), Some("a")), (id(2), Some("b"))]);
    cache.put_notice(id(1), Some("a")).await.unwrap();
    let same = cache.notices(Some(first.version)).await.unwrap();
    assert_eq!((same.whole, same.version, told(&same)), (false, first.version, vec![]));
    cache.put_notice(id(1), Some("c")).await.unwrap();
    cache.put_notice(id(2), None).await.unwrap();
    let second = cache.notices(Some(first.version)).await.unwrap();
    assert_eq!(told(&second), [(id(1), Some("c")), (id(2), None)]);
    assert!(second.version > first.version);
    let all = cache.notices(None).await.unwrap();
    assert_eq!((all.whole, told(&all)), (true, vec![(id(1), Some("c"))]));
    assert_eq!(told(&cache.notices(Some(all.version)).await.unwrap()), []);
}

pub async fn all_notices_at_once_replace_those_that_are_left_out(cache: Cache) {
    cache.put_notice(id(1), Some("a")).await.unwrap();
    cache.put_notice(id(2), Some("b")).await.unwrap();
    let before = cache.notices(None).await.unwrap().version;
    let all = [(id(2), "b".to_owned()), (id(3), "c".to_owned())].into();
    cache.put_notices(&all).await.unwrap();
    let changed = cache.notices(Some(before)).await.unwrap();
    assert_eq!(told(&changed), [(id(1), None), (id(3), Some("c"))]);
    cache.put_notices(&all).await.unwrap();
    assert_eq!(told(&cache.notices(Some(changed.version)).await.unwrap()), [], "the same is no change");
    cache.put_notices(&[].into()).await.unwrap();
    assert_eq!(told(&cache.notices(None).await.unwrap()), []);
}
