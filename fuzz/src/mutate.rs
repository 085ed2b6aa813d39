//! A small mutator: same seed, same inputs.

/// SplitMix64: enough to choose mutations, and three lines.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`; 0 where that is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        if limit == 0 { 0 } else { (self.next_u64() % limit as u64) as usize }
    }

    fn pick<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len())]
    }
}

/// Longest input that is made: past it a run only gets slower. The limits of the parsers have tests of their own.
const OCTETS_MAX: usize = 8 * 1024;
/// Most mutations of one input.
const MUTATIONS_MAX: usize = 8;

/// What parsers trip over.
const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\r\n ",
    b"\r",
    b"\n",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b"\0",
    b"\xff",
    b"\"",
    b"\\\"",
    b"\\",
    b"<",
    b">",
    b",",
    b";",
    b"=",
    b":",
    b"@",
    b"%",
    b"%00",
    b"%41",
    b"?",
    b"&",
    b"/",
    b"*",
    b"[",
    b"]",
    b"[::1]",
    b"[::ffff:192.0.2.1]",
    b"255.255.255.255",
    b"0",
    b"-1",
    b"00000000000000000001",
    b"65536",
    b"4294967296",
    b"18446744073709551616",
    b"SIP/2.0",
    b"SIP/2.0/UDP ",
    b"sip:",
    b"sips:",
    b"tel:+1",
    b"INVITE ",
    b"Via: ",
    b"v:",
    b"Content-Length: ",
    b"l:1\r\n",
    b"Contact: *\r\n",
    b"Route: ",
    b"From:",
    b"To:",
    b"CSeq: 1 ",
    b";tag=",
    b";branch=z9hG4bK",
    b";received=",
    b";expires=",
    b";q=0.",
    b"m=audio ",
    b"c=IN IP6 ",
    b"a=candidate:",
    b"\xc3\xa4",
];

/// An input made from one of the corpus, with pieces of another.
pub fn mutate(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut octets = corpus[random.below(corpus.len())].clone();
    for _ in 0..1 + random.below(MUTATIONS_MAX) {
        let at = random.below(octets.len() + 1);
        match random.below(8) {
            0 if at < octets.len() => octets[at] ^= 1 << random.below(8),
            1 if at < octets.len() => octets[at] = random.next_u64() as u8,
            2 => splice(&mut octets, at, 0, random.pick(WORDS)),
            3 => {
                let word = random.pick(WORDS);
                splice(&mut octets, at, word.len(), word);
            }
            4 => {
                let length = random.below(32);
                splice(&mut octets, at, length, b"");
            }
            5 => {
                let end = (at + random.below(64)).min(octets.len());
                let piece = octets[at..end].to_vec();
                splice(&mut octets, at, 0, &piece);
            }
            6 => {
                let other = &corpus[random.below(corpus.len())];
                let start = random.below(other.len() + 1);
                let end = (start + random.below(128)).min(other.len());
                splice(&mut octets, at, 0, &other[start..end]);
            }
            7 => octets.truncate(octets.len() - random.below(octets.len() / 4 + 1)),
            _ => octets.push(random.next_u64() as u8),
        }
    }
    octets.truncate(OCTETS_MAX);
    octets
}

/// Puts `piece` in the place of `removed` octets, or of as many as there are.
fn splice(octets: &mut Vec<u8>, at: usize, removed: usize, piece: &[u8]) {
    let end = (at + removed).min(octets.len());
    octets.splice(at..end, piece.iter().copied());
}
