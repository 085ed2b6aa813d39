//! Just enough SIP parsing for a load generator: one pass, no allocation.

pub const MAX_MULTI: usize = 8;

#[derive(Clone, Copy)]
pub struct Msg<'a> {
    /// Empty for a response.
    pub method: &'a [u8],
    pub uri: &'a [u8],
    /// 0 for a request.
    pub status: u16,
    vias: [&'a [u8]; MAX_MULTI],
    nvia: usize,
    rrs: [&'a [u8]; MAX_MULTI],
    nrr: usize,
    pub from: &'a [u8],
    pub to: &'a [u8],
    pub call_id: &'a [u8],
    pub cseq: u32,
    pub cseq_method: &'a [u8],
    pub contact: &'a [u8],
    pub challenge: &'a [u8],
    pub proxy_challenge: bool,
    pub sub_state: &'a [u8],
    pub etag: &'a [u8],
    pub body: &'a [u8],
}

impl<'a> Msg<'a> {
    pub fn vias(&self) -> &[&'a [u8]] {
        &self.vias[..self.nvia]
    }
    pub fn record_routes(&self) -> &[&'a [u8]] {
        &self.rrs[..self.nrr]
    }
    pub fn is_request(&self) -> bool {
        self.status == 0
    }
    /// The branch parameter of the topmost Via.
    pub fn branch(&self) -> &'a [u8] {
        if self.nvia == 0 {
            return b"";
        }
        param(self.vias[0], b"branch=").unwrap_or(b"")
    }
}

/// The value of `name` (which ends in '=') in a `;`-separated parameter list.
pub fn param<'a>(v: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let i = find(v, name)?;
    let s = &v[i + name.len()..];
    let end = s.iter().position(|c| matches!(c, b';' | b',' | b' ' | b'>')).unwrap_or(s.len());
    Some(&s[..end])
}

pub fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    let first = needle[0];
    let mut i = 0;
    while i + needle.len() <= hay.len() {
        match hay[i..=hay.len() - needle.len()].iter().position(|c| *c == first) {
            None => return None,
            Some(p) => {
                i += p;
                if &hay[i..i + needle.len()] == needle {
                    return Some(i);
                }
                i += 1;
            }
        }
    }
    None
}

/// The URI inside `<...>` of a name-addr, or the bare addr-spec.
pub fn uri_of(v: &[u8]) -> &[u8] {
    match (v.iter().position(|c| *c == b'<'), v.iter().position(|c| *c == b'>')) {
        (Some(a), Some(b)) if a < b => &v[a + 1..b],
        _ => {
            let end = v.iter().position(|c| *c == b';').unwrap_or(v.len());
            &v[..end]
        }
    }
}

fn trim(mut s: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = s {
        s = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = s {
        s = rest;
    }
    s
}

pub fn num(s: &[u8]) -> u64 {
    s.iter()
        .take_while(|c| c.is_ascii_digit())
        .fold(0u64, |a, c| a.wrapping_mul(10).wrapping_add((c - b'0') as u64))
}

/// Finds one message at the start of a stream buffer.
/// `Ok(None)`: more bytes are needed. `Ok(Some((skip, len)))`: the message is
/// `buf[skip..skip + len]`; `len` 0 means only keep-alive line ends were there.
pub fn frame(buf: &[u8]) -> Result<Option<(usize, usize)>, ()> {
    let skip = buf.iter().take_while(|c| matches!(c, b'\r' | b'\n')).count();
    let b = &buf[skip..];
    if b.is_empty() {
        return Ok(if skip > 0 { Some((skip, 0)) } else { None });
    }
    let Some(head) = find(b, b"\r\n\r\n") else {
        return if b.len() > 65536 { Err(()) } else { Ok(None) };
    };
    let mut clen = 0usize;
    for line in lines(&b[..head]) {
        if let Some(c) = line.iter().position(|c| *c == b':') {
            let name = trim(&line[..c]);
            if name.eq_ignore_ascii_case(b"content-length") || name.eq_ignore_ascii_case(b"l") {
                clen = num(trim(&line[c + 1..])) as usize;
            }
        }
    }
    let total = head + 4 + clen;
    if b.len() < total {
        return Ok(None);
    }
    Ok(Some((skip, total)))
}

fn lines(b: &[u8]) -> impl Iterator<Item = &[u8]> {
    b.split(|c| *c == b'\n').map(|l| l.strip_suffix(b"\r").unwrap_or(l))
}

pub fn parse(raw: &[u8]) -> Option<Msg<'_>> {
    let head = find(raw, b"\r\n\r\n")?;
    let mut m = Msg {
        method: b"",
        uri: b"",
        status: 0,
        vias: [b""; MAX_MULTI],
        nvia: 0,
        rrs: [b""; MAX_MULTI],
        nrr: 0,
        from: b"",
        to: b"",
        call_id: b"",
        cseq: 0,
        cseq_method: b"",
        contact: b"",
        challenge: b"",
        proxy_challenge: false,
        sub_state: b"",
        etag: b"",
        body: &raw[head + 4..],
    };
    let mut it = lines(&raw[..head]);
    let start = it.next()?;
    if let Some(rest) = start.strip_prefix(b"SIP/2.0 ") {
        m.status = num(rest) as u16;
        if m.status < 100 {
            return None;
        }
    } else {
        let mut w = start.split(|c| *c == b' ');
        m.method = w.next()?;
        m.uri = w.next()?;
        if w.next()? != b"SIP/2.0" {
            return None;
        }
    }
    for line in it {
        let Some(c) = line.iter().position(|c| *c == b':') else { continue };
        let (name, val) = (trim(&line[..c]), trim(&line[c + 1..]));
        let is = |long: &[u8]| name.eq_ignore_ascii_case(long);
        match name.len() {
            1 => match name[0].to_ascii_lowercase() {
                b'v' => push(&mut m.vias, &mut m.nvia, val),
                b'f' => m.from = val,
                b't' => m.to = val,
                b'i' => m.call_id = val,
                b'm' => m.contact = val,
                _ => {}
            },
            2 if is(b"to") => m.to = val,
            3 if is(b"via") => push(&mut m.vias, &mut m.nvia, val),
            4 if is(b"from") => m.from = val,
            4 if is(b"cseq") => {
                m.cseq = num(val) as u32;
                m.cseq_method = trim(&val[val.iter().take_while(|c| c.is_ascii_digit()).count()..]);
            }
            7 if is(b"call-id") => m.call_id = val,
            7 if is(b"contact") => m.contact = val,
            8 if is(b"sip-etag") => m.etag = val,
            12 if is(b"record-route") => push(&mut m.rrs, &mut m.nrr, val),
            16 if is(b"www-authenticate") => m.challenge = val,
            18 if is(b"proxy-authenticate") => {
                m.challenge = val;
                m.proxy_challenge = true;
            }
            18 if is(b"subscription-state") => m.sub_state = val,
            _ => {}
        }
    }
    if m.nvia == 0 || m.cseq_method.is_empty() {
        return None;
    }
    Some(m)
}

fn push<'a>(arr: &mut [&'a [u8]; MAX_MULTI], n: &mut usize, v: &'a [u8]) {
    // A comma-separated header field value is kept as one element: servers
    // under test write one value per line, and copying it back is equivalent.
    if *n < MAX_MULTI {
        arr[*n] = v;
        *n += 1;
    }
}

/// Writes a response to `req` with the given extra header lines (each ending CRLF).
pub fn reply(out: &mut Vec<u8>, req: &Msg, status: &str, to_tag: &str, extra: &str, body: &[u8]) {
    out.extend_from_slice(b"SIP/2.0 ");
    out.extend_from_slice(status.as_bytes());
    for v in req.vias() {
        line(out, b"Via", v);
    }
    line(out, b"From", req.from);
    out.extend_from_slice(b"\r\nTo: ");
    out.extend_from_slice(req.to);
    if !to_tag.is_empty() && find(req.to, b";tag=").is_none() {
        out.extend_from_slice(b";tag=");
        out.extend_from_slice(to_tag.as_bytes());
    }
    line(out, b"Call-ID", req.call_id);
    out.extend_from_slice(format!("\r\nCSeq: {} ", req.cseq).as_bytes());
    out.extend_from_slice(req.cseq_method);
    if req.cseq_method == b"INVITE" {
        for v in req.record_routes() {
            line(out, b"Record-Route", v);
        }
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(extra.as_bytes());
    out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    out.extend_from_slice(body);
}

fn line(out: &mut Vec<u8>, name: &[u8], v: &[u8]) {
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(v);
}

#[cfg(test)]
mod tests {
    use super::*;

    const R: &[u8] = b"SIP/2.0 401 Unauthorized\r\nVia: SIP/2.0/TCP 127.0.0.1:5;branch=z9hG4bKsl1.2a;rport=5\r\nv: SIP/2.0/UDP x;branch=q\r\nTo: <sip:a@b>;tag=z\r\nf: <sip:a@b>;tag=1\r\nCall-ID: c\r\nCSeq: 7 REGISTER\r\nWWW-Authenticate: Digest realm=\"r\", nonce=\"n\"\r\nContent-Length: 3\r\n\r\nabc";

    #[test]
    fn parses_a_response() {
        let m = parse(R).unwrap();
        assert_eq!(m.status, 401);
        assert_eq!(m.branch(), b"z9hG4bKsl1.2a");
        assert_eq!(m.vias().len(), 2);
        assert_eq!((m.cseq, m.cseq_method), (7, &b"REGISTER"[..]));
        assert_eq!(m.body, b"abc");
        assert_eq!(m.from, b"<sip:a@b>;tag=1");
    }

    #[test]
    fn frames_a_stream() {
        for cut in 1..R.len() {
            assert_eq!(frame(&R[..cut]), Ok(None), "cut {cut}");
        }
        assert_eq!(frame(R), Ok(Some((0, R.len()))));
        let two = [b"\r\n\r\n".as_slice(), R, R].concat();
        assert_eq!(frame(&two), Ok(Some((4, R.len()))));
        assert_eq!(frame(b"\r\n"), Ok(Some((2, 0))));
    }

    #[test]
    fn replies_copy_what_they_must() {
        let req = parse(b"MESSAGE sip:b@x SIP/2.0\r\nVia: SIP/2.0/UDP p;branch=z9hG4bK1\r\nVia: SIP/2.0/UDP q;branch=z9hG4bK2\r\nFrom: <sip:a@x>;tag=f\r\nTo: <sip:b@x>\r\nCall-ID: id\r\nCSeq: 3 MESSAGE\r\nContent-Length: 0\r\n\r\n").unwrap();
        let mut out = Vec::new();
        reply(&mut out, &req, "200 OK", "tt", "", b"");
        let r = parse(&out).unwrap();
        assert_eq!(r.status, 200);
        assert_eq!(r.vias(), req.vias());
        assert_eq!(r.to, b"<sip:b@x>;tag=tt");
        assert_eq!(frame(&out), Ok(Some((0, out.len()))));
    }
}
