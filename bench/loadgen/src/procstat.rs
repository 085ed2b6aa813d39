//! CPU time and memory of a server: a root process and all its descendants.

use std::collections::HashMap;
use std::fs;

#[derive(Clone, Copy, Default, Debug)]
pub struct Cpu {
    /// Nanoseconds on CPU (`/proc/PID/task/*/schedstat`), all threads.
    pub exec_ns: u64,
    /// utime and stime (`/proc/PID/stat`), in seconds; 10 ms resolution per process.
    pub user_s: f64,
    pub sys_s: f64,
    pub procs: usize,
    pub threads: usize,
}

#[derive(Clone, Copy, Default, Debug)]
pub struct Mem {
    pub rss_kb: u64,
    pub pss_kb: u64,
    pub pss_anon_kb: u64,
    pub pss_shmem_kb: u64,
}

fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let s = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let rest = &s[s.rfind(')')? + 2..];
    Some(rest.split_ascii_whitespace().map(str::to_string).collect())
}

/// The given pids and every process descended from them.
pub fn tree(roots: &[u32]) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    if let Ok(dir) = fs::read_dir("/proc") {
        for e in dir.flatten() {
            if let Ok(pid) = e.file_name().to_string_lossy().parse::<u32>()
                && let Some(f) = stat_fields(pid)
                && let Ok(ppid) = f[1].parse()
            {
                children.entry(ppid).or_default().push(pid);
            }
        }
    }
    let mut out: Vec<u32> = Vec::new();
    let mut todo: Vec<u32> = roots.to_vec();
    while let Some(p) = todo.pop() {
        if out.contains(&p) || stat_fields(p).is_none() {
            continue;
        }
        out.push(p);
        todo.extend(children.get(&p).into_iter().flatten());
    }
    out.sort_unstable();
    out
}

pub fn cpu(roots: &[u32]) -> Cpu {
    let tck = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    let mut c = Cpu::default();
    for pid in tree(roots) {
        let Some(f) = stat_fields(pid) else { continue };
        c.procs += 1;
        c.user_s += f[11].parse::<f64>().unwrap_or(0.0) / tck;
        c.sys_s += f[12].parse::<f64>().unwrap_or(0.0) / tck;
        if let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) {
            for t in tasks.flatten() {
                c.threads += 1;
                if let Ok(s) = fs::read_to_string(t.path().join("schedstat"))
                    && let Some(ns) = s.split_ascii_whitespace().next().and_then(|x| x.parse::<u64>().ok())
                {
                    c.exec_ns += ns;
                }
            }
        }
    }
    c
}

pub fn mem(roots: &[u32]) -> Mem {
    let mut m = Mem::default();
    for pid in tree(roots) {
        let Ok(s) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else { continue };
        for line in s.lines() {
            let mut it = line.split_ascii_whitespace();
            let (Some(k), Some(v)) = (it.next(), it.next()) else { continue };
            let Ok(v) = v.parse::<u64>() else { continue };
            match k {
                "Rss:" => m.rss_kb += v,
                "Pss:" => m.pss_kb += v,
                "Pss_Anon:" => m.pss_anon_kb += v,
                "Pss_Shmem:" => m.pss_shmem_kb += v,
                _ => {}
            }
        }
    }
    m
}

impl Cpu {
    /// CPU seconds used since `earlier`. Prefers the nanosecond counter; falls
    /// back to ticks when a thread that ended in between took its time along.
    pub fn since(&self, earlier: &Cpu) -> f64 {
        let exact = self.exec_ns as f64 / 1e9 - earlier.exec_ns as f64 / 1e9;
        let ticks = (self.user_s + self.sys_s) - (earlier.user_s + earlier.sys_s);
        if exact > 0.0 && (exact - ticks).abs() < 0.05 * ticks + 0.02 * self.procs as f64 {
            exact
        } else {
            ticks
        }
    }

    pub fn json_since(&self, earlier: &Cpu) -> String {
        format!(
            "{{\"cpu_s\":{:.4},\"user_s\":{:.2},\"sys_s\":{:.2},\"procs\":{},\"threads\":{}}}",
            self.since(earlier),
            self.user_s - earlier.user_s,
            self.sys_s - earlier.sys_s,
            self.procs,
            self.threads
        )
    }
}

impl Mem {
    pub fn json(&self) -> String {
        format!(
            "{{\"pss_kb\":{},\"pss_anon_kb\":{},\"pss_shmem_kb\":{},\"sum_rss_kb\":{}}}",
            self.pss_kb, self.pss_anon_kb, self.pss_shmem_kb, self.rss_kb
        )
    }
}

/// Pages held by all TCP sockets of the machine (both ends of loopback), in KiB.
pub fn tcp_mem_kb() -> u64 {
    fs::read_to_string("/proc/net/sockstat")
        .ok()
        .and_then(|s| {
            let l = s.lines().find(|l| l.starts_with("TCP:"))?.to_string();
            let w: Vec<&str> = l.split_ascii_whitespace().collect();
            let i = w.iter().position(|x| *x == "mem")?;
            w[i + 1].parse::<u64>().ok()
        })
        .unwrap_or(0)
        * 4
}
