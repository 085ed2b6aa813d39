//! Measures a book of 100,000 entries, or as many as the first argument says: `cargo run --release -p address-book --example figures`.
//! Times are of the processor, so that other work on the machine changes them little.

#[path = "../benches/company/mod.rs"]
mod company;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use address_book::{Audience, Book, BookSettings, Query, Reply, Viewer};
use bytes::Bytes;
use node::http::{HttpRequest, HttpResponse};
use records::{ObjectRow, Revision};

fn main() {
    let count = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(100_000);
    let rows = company::rows(count, 1);
    let before = resident_octets();

    let begin = cpu();
    let mut book = Book::new(BookSettings::default(), company::numbers());
    for page in rows.chunks(1000) {
        book.apply(page);
    }
    println!("{count} entries, read by pages of 1,000: {:?}", (cpu() - begin));
    book.prune(company::BEGIN + 31 * 24 * 3_600_000);
    println!(
        "memory: {} octets an entry counted, {} measured (resident, with what the allocator holds)",
        book.octets() / count,
        resident_octets().saturating_sub(before) / count
    );

    let download = |book: &mut Book, target: &str, coding: &str| {
        let begin = cpu();
        let reply = book.handle(&viewer(), &request(target, coding), company::BEGIN);
        let held = cpu() - begin;
        let Reply::Work(work) = reply else { panic!("a download takes work") };
        let answer = work.run();
        assert_eq!(answer.status, 200);
        println!(
            "{target} {coding}: {} octets; lock held {held:?}, answered after {:?}",
            answer.body.len(),
            (cpu() - begin)
        );
        answer
    };
    for coding in ["identity", "gzip", "zstd", "zstd"] {
        download(&mut book, "/v1/address-book", coding);
    }
    let version = book.version(Audience::Everyone).0;

    // A hundred people get other numbers and departments.
    let changes: Vec<ObjectRow> = rows
        .iter()
        .filter(|row| row.id.0[0] % 2 == 0)
        .take(100)
        .zip(1..)
        .map(|(row, number)| {
            let mut object = row.object.clone().expect("all are there");
            object.card.department = format!("Department {number}");
            object.card.office = format!("9.{number}");
            ObjectRow { revision: Revision(version + number), object: Some(object), ..row.clone() }
        })
        .collect();
    let begin = cpu();
    book.apply(&changes);
    println!("100 changes taken in {:?}", (cpu() - begin));
    let target = format!("/v1/address-book?from={version}");
    for coding in ["identity", "gzip", "zstd"] {
        download(&mut book, &target, coding);
    }

    let queries = company::queries(20_000, 2);
    let mut times: Vec<Duration> = queries.iter().map(|text| time_search(&mut book, text)).collect();
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!("search: p50 {:?}, p99 {:?}, p99.9 {:?}, worst {:?}", at(0.5), at(0.99), at(0.999), at(1.0));
    for text in ["s", "a s", "m m m", "4"] {
        println!("search {text:?}: {:?}", time_search(&mut book, text));
    }

    let dav = |book: &mut Book, method: &str, body: &str| {
        let mut request = request("/dav/addressbooks/company/", "gzip");
        method.clone_into(&mut request.method);
        request.headers.push(("depth".to_owned(), Bytes::from_static(b"1")));
        request.body = Bytes::copy_from_slice(body.as_bytes());
        let begin = cpu();
        let reply = book.handle(&viewer(), &request, company::BEGIN);
        let held = cpu() - begin;
        let Reply::Work(work) = reply else { panic!("a listing takes work") };
        let answer: HttpResponse = work.run();
        println!(
            "{method}: {} octets; lock held {held:?}, answered after {:?}",
            answer.body.len(),
            (cpu() - begin)
        );
    };
    dav(&mut book, "PROPFIND", r#"<propfind xmlns="DAV:"><prop><getetag/></prop></propfind>"#);
    dav(
        &mut book,
        "REPORT",
        r#"<sync-collection xmlns="DAV:"><sync-token/><prop><getetag/></prop></sync-collection>"#,
    );
}

fn time_search(book: &mut Book, text: &str) -> Duration {
    let begin = cpu();
    let query = Query { text, kinds: &[], limit: 20, cursor: None };
    book.search(Audience::Everyone, &query).expect("it is a query");
    cpu() - begin
}

fn viewer() -> Viewer {
    Viewer { is_administrator: false, address: None }
}

fn request(target: &str, coding: &str) -> HttpRequest {
    HttpRequest {
        method: "GET".to_owned(),
        target: target.to_owned(),
        host: "sip.corp.example".to_owned(),
        headers: vec![("accept-encoding".to_owned(), Bytes::copy_from_slice(coding.as_bytes()))],
        body: Bytes::new(),
        remote: SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000)),
        is_secure: true,
    }
}

/// What this thread has had of the processor.
fn cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).expect("below a second"))
}

/// What the process has in memory, as the system tells; 0 where it does not.
fn resident_octets() -> usize {
    const PAGE_OCTETS: usize = 4096;
    let told = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    told.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * PAGE_OCTETS
}
