//! What the machine itself allows: the cost of the system calls and of the
//! cryptography that any server of this kind needs. Single-threaded, so each
//! figure is CPU time; the smallest of several rounds is taken (a shared
//! machine only ever adds).

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Instant;

fn cpu_ns() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// CPU nanoseconds of one call of `f`: the best of 7 rounds of `n` calls.
fn cost(n: usize, mut f: impl FnMut()) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..7 {
        let t = cpu_ns();
        for _ in 0..n {
            f();
        }
        best = best.min((cpu_ns() - t) as f64 / n as f64);
    }
    best
}

fn udp_pair() -> (UdpSocket, UdpSocket) {
    let a = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let b = UdpSocket::bind("127.0.0.1:0").expect("bind");
    a.connect(b.local_addr().expect("addr")).expect("connect");
    b.connect(a.local_addr().expect("addr")).expect("connect");
    (a, b)
}

/// Send `k` datagrams with one sendmmsg, receive them with one recvmmsg.
fn mmsg(size: usize, k: usize) -> f64 {
    let (a, b) = udp_pair();
    let data = vec![7u8; size];
    let mut bufs = vec![vec![0u8; 2048]; k];
    let mut out: Vec<libc::iovec> =
        (0..k).map(|_| libc::iovec { iov_base: data.as_ptr() as *mut _, iov_len: size }).collect();
    let mut inn: Vec<libc::iovec> =
        bufs.iter_mut().map(|v| libc::iovec { iov_base: v.as_mut_ptr().cast(), iov_len: v.len() }).collect();
    let hdr = |v: &mut libc::iovec| unsafe {
        let mut h: libc::mmsghdr = std::mem::zeroed();
        h.msg_hdr.msg_iov = v;
        h.msg_hdr.msg_iovlen = 1;
        h
    };
    let mut oh: Vec<_> = out.iter_mut().map(hdr).collect();
    let mut ih: Vec<_> = inn.iter_mut().map(hdr).collect();
    cost(20_000 / k, || unsafe {
        libc::sendmmsg(a.as_raw_fd(), oh.as_mut_ptr(), k as u32, 0);
        libc::recvmmsg(b.as_raw_fd(), ih.as_mut_ptr(), k as u32, 0, std::ptr::null_mut());
    }) / k as f64
}

/// Send `k` datagrams as one UDP_SEGMENT (GSO) super-packet, receive each.
fn gso(size: usize, k: usize, gro: bool) -> Option<f64> {
    let (a, b) = udp_pair();
    let seg = size as i32;
    let set =
        |fd, opt, v: i32| unsafe { libc::setsockopt(fd, libc::SOL_UDP, opt, (&v as *const i32).cast(), 4) };
    if set(a.as_raw_fd(), 103, seg) != 0 || (gro && set(b.as_raw_fd(), 104, 1) != 0) {
        return None;
    }
    let data = vec![7u8; size * k];
    let mut buf = vec![0u8; 65536];
    a.send(&data).ok()?;
    b.set_nonblocking(true).ok()?;
    let mut first = 0;
    while let Ok(n) = b.recv(&mut buf) {
        first += n;
    }
    if first != size * k {
        return None;
    }
    Some(
        cost(20_000 / k, || {
            let _ = a.send(&data);
            let mut got = 0;
            while got < size * k {
                match b.recv(&mut buf) {
                    Ok(n) => got += n,
                    Err(_) => break,
                }
            }
        }) / k as f64,
    )
}

fn tcp(size: usize) -> f64 {
    let l = TcpListener::bind("127.0.0.1:0").expect("bind");
    let mut a = TcpStream::connect(l.local_addr().expect("addr")).expect("connect");
    let (mut b, _) = l.accept().expect("accept");
    a.set_nodelay(true).ok();
    let data = vec![7u8; size];
    let mut buf = vec![0u8; size];
    cost(20_000, || {
        a.write_all(&data).expect("write");
        b.read_exact(&mut buf).expect("read");
    })
}

fn epoll(ready: bool) -> f64 {
    let (a, b) = udp_pair();
    let ep = unsafe { libc::epoll_create1(0) };
    let mut ev = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 0 };
    unsafe { libc::epoll_ctl(ep, libc::EPOLL_CTL_ADD, b.as_raw_fd(), &mut ev) };
    if ready {
        a.send(b"x").expect("send");
    }
    let mut evs = [ev; 16];
    let r = cost(50_000, || unsafe {
        libc::epoll_wait(ep, evs.as_mut_ptr(), 16, 0);
    });
    unsafe { libc::close(ep) };
    r
}

/// Two threads hand a datagram to and fro: CPU of both, and the time, per hop.
fn wakeup() -> (f64, f64) {
    let (a, b) = udp_pair();
    let n = 20_000;
    let t = std::thread::spawn(move || {
        let mut buf = [0u8; 2048];
        for _ in 0..n {
            let k = b.recv(&mut buf).expect("recv");
            b.send(&buf[..k]).expect("send");
        }
    });
    let (c0, w0) = (cpu_ns(), Instant::now());
    let mut buf = [0u8; 2048];
    for _ in 0..n {
        a.send(&[0u8; 200]).expect("send");
        a.recv(&mut buf).expect("recv");
    }
    t.join().expect("thread");
    ((cpu_ns() - c0) as f64 / (2 * n) as f64, w0.elapsed().as_nanos() as f64 / (2 * n) as f64)
}

fn aes(size: usize) -> f64 {
    use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    let k = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[1; 16]).expect("key"));
    let mut buf = vec![0u8; size];
    cost(20_000, || {
        let _ = k.seal_in_place_separate_tag(Nonce::assume_unique_for_key([0; 12]), Aad::empty(), &mut buf);
    })
}

fn ecdsa() -> f64 {
    use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
    let rng = ring::rand::SystemRandom::new();
    let doc = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &rng).expect("key");
    let k = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, doc.as_ref(), &rng).expect("key");
    cost(500, || {
        let _ = k.sign(&rng, b"handshake transcript");
    })
}

fn x25519() -> f64 {
    use ring::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
    let rng = ring::rand::SystemRandom::new();
    let other = EphemeralPrivateKey::generate(&X25519, &rng).expect("key").compute_public_key().expect("key");
    cost(500, || {
        let mine = EphemeralPrivateKey::generate(&X25519, &rng).expect("key");
        let _ = mine.compute_public_key();
        let _ = agree_ephemeral(mine, &UnparsedPublicKey::new(&X25519, other.as_ref()), |_| ());
    })
}

pub fn run() {
    let (a, b) = udp_pair();
    let mut buf = [0u8; 2048];
    let udp = |size: usize, buf: &mut [u8; 2048]| {
        let data = vec![7u8; size];
        cost(20_000, || {
            a.send(&data).expect("send");
            b.recv(buf).expect("recv");
        })
    };
    let (u200, u700, u1200) = (udp(200, &mut buf), udp(700, &mut buf), udp(1200, &mut buf));
    let src = vec![1u8; 1 << 16];
    let mut dst = vec![0u8; 1 << 16];
    let copy = cost(2000, || {
        dst.copy_from_slice(&src);
        std::hint::black_box(&dst);
    });
    let opt = |v: Option<f64>| v.map_or("null".into(), |x| format!("{x:.0}"));
    let (wc, ww) = wakeup();
    println!(
        "{{\"workload\":\"limits\",\"unit\":\"ns of CPU\",\"getppid\":{:.0},\"epoll_wait_empty\":{:.0},\"epoll_wait_ready\":{:.0},\
\"udp_send_recv_200\":{u200:.0},\"udp_send_recv_700\":{u700:.0},\"udp_send_recv_1200\":{u1200:.0},\
\"udp_mmsg32_200\":{:.0},\"udp_mmsg32_700\":{:.0},\"udp_mmsg32_1200\":{:.0},\
\"udp_gso32_200\":{},\"udp_gso32_gro_200\":{},\"udp_gso32_gro_1200\":{},\
\"tcp_send_recv_700\":{:.0},\"udp_pingpong_hop_cpu\":{wc:.0},\"udp_pingpong_hop_wall\":{ww:.0},\
\"memcpy_gb_s\":{:.1},\"aes128gcm_200\":{:.0},\"aes128gcm_700\":{:.0},\"aes128gcm_16k\":{:.0},\
\"ecdsa_p256_sign\":{:.0},\"x25519_keygen_and_agree\":{:.0}}}",
        cost(100_000, || unsafe {
            libc::getppid();
        }),
        epoll(false),
        epoll(true),
        mmsg(200, 32),
        mmsg(700, 32),
        mmsg(1200, 32),
        opt(gso(200, 32, false)),
        opt(gso(200, 32, true)),
        opt(gso(1200, 32, true)),
        tcp(700),
        65536.0 / copy,
        aes(200),
        aes(700),
        aes(16384),
        ecdsa(),
        x25519(),
    );
}
