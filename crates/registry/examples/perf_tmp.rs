use std::{time::Instant, path::Path};
use fleet::*; use registry::*;
#[tokio::main]
async fn main() {
    let p = "/tmp/regexp/perf.db";
    let fresh = !Path::new(p).exists();
    let r = Registry::open_sqlite(Path::new(p)).await.unwrap();
    r.migrate().await.unwrap();
    let now = 1_790_000_000_000i64;
    let mk = |i: u64| { let mut x=[0u8;10]; x[2..].copy_from_slice(&(i.wrapping_mul(0x9E3779B97F4A7C15)).to_be_bytes()); ServerId::new(now + i as i64*3, x) };
    let n = 100_000u64;
    if fresh {
        use sqlx::Connection;
        let mut c = sqlx::SqliteConnection::connect(&format!("sqlite://{p}")).await.unwrap();
        let mut tx = c.begin().await.unwrap();
        for i in 0..n {
            let name=format!("Web-{:06}", i*7919%n); let f=name.to_lowercase(); let a=format!("10.0.{}.{}", i>>8&255, i&255);
            sqlx::query("INSERT INTO servers(id,name,name_folded,address,search,generation,version,created_at,updated_at) VALUES($1,$2,$3,$4,$5,1,1,$6,$6)").bind(mk(i).to_string()).bind(&name).bind(&f).bind(&a).bind(format!("{f}\n{a}\nprod")).bind(now+i as i64*3).execute(&mut *tx).await.unwrap();
            for (k,v) in [("env", if i%100==0 {"rare"} else {"prod"}), ("dc", "eu")] {
            sqlx::query("INSERT INTO labels VALUES($1,$2,$3)").bind(mk(i).to_string()).bind(k).bind(v).execute(&mut *tx).await.unwrap(); }
        }
        tx.commit().await.unwrap();
        let mut order: Vec<u64> = (0..n-50).collect();
        order.sort_by_key(|i| i.wrapping_mul(0x9E3779B97F4A7C15));
        for (b, chunk) in order.chunks(1000).enumerate() {
            let s: Vec<_> = chunk.iter().map(|i| { let at = now + (i*7919%600_000) as i64; Sighting{server: mk(*i), received_at: at, silent_at: at+120_000, interval: Interval::DEFAULT, sampled_at: at, facts: Some((at, wire::v1::Host{hostname:Some(format!("web-{i}.example.org")), os:Some("Debian GNU/Linux 12 (bookworm)".into()), kernel:Some("6.1.0-18-amd64".into()), arch:Some("x86_64".into()), cpu_model:Some("AMD EPYC 7763 64-Core Processor".into()), boot_at:Some(now), agent_version:Some("0.1.0".into())}))}}).collect();
            let t=Instant::now(); r.sight(&s).await.unwrap(); if b%20==0 { println!("sight 1000 with facts {:?}", t.elapsed()); }
        }
    }
    let ids: Vec<_> = (0..1000).map(|i| mk(i*97)).collect();
    for _ in 0..3 { let t=Instant::now(); r.standing(&ids).await.unwrap(); println!("standing 1000 {:?}", t.elapsed()); }
    for k in 0..3 { let s: Vec<_> = ids.iter().map(|i| { let at = now+1_000_000+k*1000; Sighting{server:*i, received_at: at-1_000_000, silent_at: at-900_000, interval: Interval::DEFAULT, sampled_at: at, facts: None}}).collect(); let t=Instant::now(); r.sight(&s).await.unwrap(); println!("sight 1000 {:?}", t.elapsed()); }
    let wm = now + 120_000 + 300_000 + 60_000;
    let roll = Roll{pipeline: Pipeline{watermark: Some(wm), open_since: Some(now-1_000_000)}, silent: vec![]};
    let roll1k = Roll{silent: (0..1000).map(|i| (mk(i*31), wm-1)).collect(), ..roll.clone()};
    let rollall = Roll{silent: (0..n).map(|i| (mk(i), wm-1)).collect(), ..roll.clone()};
    let f0 = ServerFilter::default();
    let st = |s| ServerFilter{status:Some(s), ..f0.clone()};
    let q = ServerFilter{q: Some("eb-0012".into()), ..f0.clone()};
    let q2 = ServerFilter{q: Some("web".into()), ..f0.clone()};
    let lab = ServerFilter{labels: vec![("env".into(),"rare".into())], ..f0.clone()};
    let lab2 = ServerFilter{labels: vec![("env".into(),"prod".into())], ..f0.clone()};
    let s = |key, descending| vec![Sort{key, descending}];
    let pg = |page| Page{page, page_size:50};
    for (rn, roll) in [("none",&roll),("1k",&roll1k),("all",&rollall)] {
        for _ in 0..2 { let t=Instant::now(); let c=r.counts(roll).await.unwrap(); println!("roll {rn} counts {:?} {c:?}", t.elapsed()); }
        for (name, f, so, p) in [
            ("all by name", &f0, s(SortKey::Name,false), 1), ("all by -name p100", &f0, s(SortKey::Name,true), 100), ("all by address", &f0, s(SortKey::Address,false), 3), ("all by -created", &f0, s(SortKey::CreatedAt,true), 3), ("all by updated", &f0, s(SortKey::UpdatedAt,false), 3),
            ("all by lastseen", &f0, s(SortKey::LastSeenAt,true), 1), ("all by status", &f0, s(SortKey::Status,true), 1), ("all unsorted", &f0, vec![], 1), ("all by address,name", &f0, vec![Sort{key:SortKey::Address,descending:false},Sort{key:SortKey::Name,descending:false}], 1),
            ("down by name", &st(Status::Down), s(SortKey::Name,false), 1), ("down by -lastseen", &st(Status::Down), s(SortKey::LastSeenAt,true), 1),
            ("up by name", &st(Status::Up), s(SortKey::Name,false), 1), ("unknown by name", &st(Status::Unknown), s(SortKey::Name,false), 1),
            ("q rare by name", &q, s(SortKey::Name,false), 1), ("q all by name", &q2, s(SortKey::Name,false), 1), ("label rare", &lab, s(SortKey::Name,false), 1), ("label most", &lab2, s(SortKey::Name,false), 1),
        ] {
            let mut best = None; let mut tot=0;
            for _ in 0..3 { let t=Instant::now(); let (v,n)=r.servers(f,&so,pg(p),roll).await.unwrap(); let e=t.elapsed(); tot=n; assert!(v.len()<=50); best = Some(best.map_or(e, |b: std::time::Duration| b.min(e))); }
            println!("roll {rn:4} {name:20} {:6.1} ms  total {tot}", best.unwrap().as_secs_f64()*1e3);
        }
    }
    let t=Instant::now(); r.server(mk(5), &roll).await.unwrap(); println!("one server {:?}", t.elapsed());
    r.close().await;
}
