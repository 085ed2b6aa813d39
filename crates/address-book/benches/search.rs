//! Search over 100,000 entries: the mix of what people type, and the worst single letters.

mod company;

use std::hint::black_box;

use address_book::{Audience, Book, BookSettings, Query};
use criterion::{Criterion, criterion_group, criterion_main};

const ENTRIES: usize = 100_000;

fn search(criterion: &mut Criterion) {
    let mut book = Book::new(BookSettings::default(), company::numbers());
    for page in company::rows(ENTRIES, 1).chunks(1000) {
        book.apply(page);
    }
    let mut ask = |text: &str| {
        let query = Query { text, kinds: &[], limit: 20, cursor: None };
        black_box(book.search(Audience::Everyone, &query).expect("it is a query").total)
    };
    let mut group = criterion.benchmark_group("search of 100,000");
    let queries = company::queries(4096, 2);
    let mut next = queries.iter().cycle();
    group.bench_function("what people type", |bencher| {
        bencher.iter(|| ask(next.next().expect("it goes round")));
    });
    for text in ["s", "a s", "maria", "maria sch", "anna.sch", "+49 30 5550", "nobody at all"] {
        group.bench_function(text, |bencher| bencher.iter(|| ask(text)));
    }
    group.finish();
}

criterion_group!(benches, search);
criterion_main!(benches);
