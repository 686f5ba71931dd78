//! Years of scheduled reports on one PostgreSQL, by three processes that stall: one, and with ROLLCALL_PROVE=1 ten.
//! They are held against the calendar, worked out here from the rules of summer time and not from the database of zones
//! that the product uses.

use chassis::Clock;
use chrono::{Datelike, Days, NaiveDate, Weekday};
use fleet::{Millis, id::ScheduleId};
use futures_util::future::join_all;
use registry::{Actor, Page, ReportSchedule};

use crate::{
    place::{Place, fleet},
    suite::{HOUR, MINUTE, SECOND, Suite},
};

const FIRST_YEAR: i32 = 2027;
const DAY: Millis = 24 * HOUR;
const EVERY_NIGHT: u8 = 1;
/// In the half hour that is left out on a Sunday in October.
const IN_THE_GAP: u8 = 2;
/// In the half hour that comes twice on a Sunday in April.
const IN_THE_FOLD: u8 = 3;

/// A schedule's number, and the range that its report is about.
type Run = (u8, Millis, Millis);

/// Unix ms of a wall clock that is `offset` ahead of UTC.
fn instant(day: NaiveDate, hour: i64, minute: i64, offset: Millis) -> Millis {
    let midnight = day.and_hms_opt(0, 0, 0).unwrap().and_utc().timestamp_millis();
    midnight + hour * HOUR + minute * MINUTE - offset
}

/// The first Sunday of a month, or the last.
fn sunday(year: i32, month: u32, last: bool) -> NaiveDate {
    let from = if last { 25 } else { 1 };
    let days = (from..from + 7).map(|day| NaiveDate::from_ymd_opt(year, month, day).unwrap());
    days.into_iter().find(|day| day.weekday() == Weekday::Sun).unwrap()
}

/// Berlin late in the evening of a day: one hour ahead of UTC, two from the last Sunday of March to that of October.
fn berlin(day: NaiveDate) -> Millis {
    let summer = sunday(day.year(), 3, true)..sunday(day.year(), 10, true);
    if summer.contains(&day) { 2 * HOUR } else { HOUR }
}

/// Lord Howe Island, before two in the morning of a day: 10 h 30 min ahead, 11 h from the first Sunday of October, at two,
/// to that of April, at two.
fn lord_howe(day: NaiveDate) -> Millis {
    let winter = day > sunday(day.year(), 4, false) && day <= sunday(day.year(), 10, false);
    if winter { 10 * HOUR + 30 * MINUTE } else { 11 * HOUR }
}

fn years() -> i32 {
    if std::env::var_os("ROLLCALL_PROVE").is_some() { 10 } else { 1 }
}

/// What is to be reported about, in the order of the schedules and of time.
fn expected() -> Vec<Run> {
    let first = NaiveDate::from_ymd_opt(FIRST_YEAR, 1, 1).unwrap();
    let days: Vec<_> = first.iter_days().take_while(|day| day.year() < FIRST_YEAR + years()).collect();
    let sundays = || days.iter().copied().filter(|day| day.weekday() == Weekday::Sun);
    let midnight = |day: NaiveDate| instant(day, 0, 0, lord_howe(day));
    let back = |day: NaiveDate, days| day - Days::new(days);
    let nights = days.iter().map(|day| {
        let at = instant(*day, 23, 59, berlin(*day));
        (EVERY_NIGHT, at - DAY, at)
    });
    let gaps = sundays().map(|day| (IN_THE_GAP, midnight(back(day, 1)), midnight(day)));
    let folds = sundays().map(|day| (IN_THE_FOLD, midnight(back(day, 13)), midnight(back(day, 6))));
    nights.chain(gaps).chain(folds).collect()
}

fn schedule(number: u8, cron: &str, zone: &str, window: &str, since: Millis) -> ReportSchedule {
    ReportSchedule {
        id: ScheduleId::new(since, [number; 10]),
        cron: cron.to_owned(),
        time_zone: zone.to_owned(),
        window: window.to_owned(),
        recipients: vec!["ops@example.org".to_owned()],
        filter: "{}".to_owned(),
        format: "xlsx".to_owned(),
        language: "en".to_owned(),
        since,
        version: 1,
        created_at: since,
        updated_at: since,
    }
}

/// A process with a clock of its own.
struct Process {
    suite: Suite,
    clock: Clock,
    /// Seconds by which its clock is wrong.
    wrong: Millis,
    /// Since when and until when it stands still, having read the clock and done nothing since.
    asleep: Option<(Millis, Millis)>,
}

impl Process {
    async fn look(&self, at: Millis) {
        self.clock.set(at + self.wrong * SECOND);
        self.suite.management.make_due_reports().await.unwrap();
    }

    /// One hour. Whoever wakes goes on with the time that it had read.
    async fn hour(&mut self, now: Millis, often: bool, stall: Option<Millis>) {
        match self.asleep {
            Some((_, until)) if now < until => {}
            Some((since, _)) => {
                self.asleep = None;
                self.look(since).await;
                self.look(now).await;
            }
            None => match stall {
                Some(hours) => self.asleep = Some((now, now + hours * HOUR)),
                None if often => self.look(now).await,
                None => {}
            },
        }
    }
}

/// Numbers that look like chance and are the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

async fn reported(suite: &Suite, schedules: &[ReportSchedule]) -> Vec<Run> {
    let (mut runs, mut page) = (Vec::new(), Page { page: 1, page_size: 500 });
    loop {
        let (reports, total) = suite.registry.reports(page).await.unwrap();
        for report in reports {
            let number = schedules.iter().position(|one| Some(one.id) == report.schedule).unwrap();
            runs.push((number as u8 + 1, report.from, report.to));
        }
        if runs.len() as u64 >= total {
            runs.sort_unstable();
            return runs;
        }
        page.page += 1;
    }
}

#[actix_web::test]
async fn years_have_one_report_a_period_whoever_stalls() {
    fleet(async |place: Place| {
        let begin = instant(NaiveDate::from_ymd_opt(FIRST_YEAR, 1, 1).unwrap(), 0, 0, HOUR);
        let suite = Suite::spawn(place).await;
        let schedules = [
            schedule(EVERY_NIGHT, "59 23 * * *", "Europe/Berlin", "last_24h", begin),
            schedule(IN_THE_GAP, "15 2 * * 0", "Australia/Lord_Howe", "yesterday", begin),
            schedule(IN_THE_FOLD, "45 1 * * sun", "Australia/Lord_Howe", "last_week", begin),
        ];
        for schedule in &schedules {
            suite.registry.make_schedule(schedule, &Actor::system()).await.unwrap();
        }
        let process = |wrong| {
            let clock = Clock::fixed(begin);
            Process { suite: suite.replica_at(clock.clone()), clock, wrong, asleep: None }
        };
        let mut processes = [-1, 0, 1].map(process);
        let (mut dice, mut slept) = (Dice(7), 0);
        let end = instant(NaiveDate::from_ymd_opt(FIRST_YEAR + years(), 1, 1).unwrap(), 0, 0, HOUR);
        for hour in 0..(end - begin) / HOUR + 24 {
            let now = begin + hour * HOUR;
            // Berlin's night and Lord Howe's Sunday have begun by then, whatever the season; 1970 began with a Thursday.
            let (of_day, of_week) = (now / HOUR % 24, now / DAY % 7);
            let often = of_day == 23 || (of_day == 16 && of_week == 2);
            let stalls =
                processes.each_ref().map(|_| (dice.roll(60) == 0).then(|| 1 + dice.roll(23) as Millis));
            slept += processes.iter().all(|one| one.asleep.is_some()) as u32;
            join_all(processes.iter_mut().zip(stalls).map(async |(one, stall)| {
                one.hour(now, often && now <= end, stall.filter(|_| now < end)).await;
            }))
            .await;
        }
        assert!(slept > 10 * years() as u32, "all three slept in {slept} hours alone");
        let (found, expected) = (reported(&suite, &schedules).await, expected());
        assert!(expected.len() > 460 * years() as usize && expected.is_sorted());
        let wrong: Vec<_> = found.iter().filter(|run| !expected.contains(run)).take(5).collect();
        let missing: Vec<_> = expected.iter().filter(|run| !found.contains(run)).take(5).collect();
        assert!(wrong.is_empty() && missing.is_empty(), "wrong: {wrong:?}, missing: {missing:?}");
        assert_eq!(found, expected, "one of each");
    })
    .await;
}
