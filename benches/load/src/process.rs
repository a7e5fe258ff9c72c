//! Reads the processor time, memory and sockets of a process from Linux.

use std::process::Command;
use std::time::Duration;
use std::{fs, io};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

use crate::Result;

/// The user and system time of all threads of a process.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks =
        ticks(&stat).ok_or_else(|| format!("/proc/{pid}/stat is not as expected: {stat}"))?;
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// The name in parentheses may contain any characters; utime and stime are fields 14 and 15 (proc_pid_stat(5)).
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// The resident memory (VmRSS).
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    status_bytes(pid, "VmRSS")
}

/// The greatest resident memory so far (VmHWM).
pub(crate) fn peak_bytes(pid: u32) -> Result<u64> {
    status_bytes(pid, "VmHWM")
}

fn status_bytes(pid: u32, name: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = status
        .lines()
        .find_map(|line| {
            let value = line.strip_prefix(name)?.strip_prefix(':')?;
            value.trim().strip_suffix(" kB")?.parse::<u64>().ok()
        })
        .ok_or_else(|| format!("/proc/{pid}/status has no {name}"))?;
    Ok(kib * 1024)
}

/// The bytes received on the open TCP connections of a process, except connections to the port that it serves. The
/// kernel counts them, and `ss` of iproute2 prints them. NaN if there is no `ss`.
pub(crate) fn received_bytes(pid: u32, serves: Option<u16>) -> Result<f64> {
    let sockets = sockets(&["-tinpHO", "state", "established"])?;
    Ok(sockets.map_or(f64::NAN, |sockets| received(&sockets, pid, serves) as f64))
}

/// The output of `ss`. `None` if there is no `ss`.
fn sockets(arguments: &[&str]) -> Result<Option<String>> {
    match Command::new("ss").args(arguments).output() {
        Ok(output) => Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            eprintln!("there is no ss (of iproute2): received bytes are not measured");
            Ok(None)
        }
        Err(error) => Err(format!("ss (of iproute2) cannot be run: {error}").into()),
    }
}

fn received(sockets: &str, pid: u32, serves: Option<u16>) -> u64 {
    let owner = format!(",pid={pid},");
    let port = serves.map(|port| format!(":{port}"));
    let own = sockets.lines().filter(|line| line.contains(&owner)).filter(|line| {
        // The columns, without the state, are two queues, the local address and the address of the peer.
        let local = line.split_ascii_whitespace().nth(2).unwrap_or_default();
        port.as_ref().is_none_or(|port| !local.ends_with(port.as_str()))
    });
    own.filter_map(|line| {
        let (_, rest) = line.split_once("bytes_received:")?;
        rest.split_ascii_whitespace().next()?.parse::<u64>().ok()
    })
    .sum()
}

/// The number of connections to this port with bytes that their client has not yet taken.
pub(crate) fn full_sockets(port: u16) -> Result<usize> {
    let filter = format!("sport = :{port}");
    let sockets = sockets(&["-tnHO", "state", "established", &filter])?;
    let sockets = sockets.ok_or("ss is needed to find full sockets")?;
    // The first two columns are the receive queue and the send queue.
    let waits = |line: &&str| line.split_ascii_whitespace().nth(1).is_some_and(|sent| sent != "0");
    Ok(sockets.lines().filter(waits).count())
}

/// Sets RLIMIT_AS of another process.
pub(crate) fn limit_address_space(pid: u32, bytes: u64) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid)?).ok_or("no process has the id 0")?;
    let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
    prlimit(Some(pid), Resource::As, limit)?;
    Ok(())
}

/// Raises the limit of open files to the maximum, for this process and the servers, which inherit it.
pub(crate) fn raise_file_limit() -> Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

/// Raises the limit of open files to this number, which may be above the maximum: root may raise that, too. Returns
/// the number of files that may be open, at most as many as wanted.
pub(crate) fn permitted_files(wanted: u64) -> u64 {
    let limit = Rlimit { current: Some(wanted), maximum: Some(wanted) };
    match getrlimit(Resource::Nofile).current {
        Some(files) if files < wanted && setrlimit(Resource::Nofile, limit).is_err() => files,
        _ => wanted,
    }
}

/// Returns an error if the limit of open files is too low for this number of clients.
pub(crate) fn permits_files(clients: usize) -> Result<()> {
    let wanted = clients as u64 + 100;
    match permitted_files(wanted) {
        files if files < wanted => Err(format!(
            "{clients} clients need {wanted} open files, and the limit is {files}: raise `ulimit -Hn`, and fs.nr_open if it is lower"
        )
        .into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_process_name() {
        let stat = "77 (a ) b) S 1 77 77 0 -1 4194304 1 2 3 4 250 50 9 9 20 0 4 0 1 2 3";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(ticks("77 (a) S 1"), None);
    }

    #[test]
    fn bytes_are_counted_on_the_connections_that_a_process_opened() {
        let sockets = "\
0 0 127.0.0.1:40000 127.0.0.1:9092 users:((\"tailwater\",pid=7,fd=9)) cubic bytes_received:100 segs_in:1
0 0 127.0.0.1:40002 127.0.0.1:9092 users:((\"tailwater\",pid=7,fd=10)) cubic bytes_received:23
0 0 127.0.0.1:8080 127.0.0.1:50000 users:((\"tailwater\",pid=7,fd=11)) cubic bytes_received:1000
0 0 127.0.0.1:40004 127.0.0.1:9092 users:((\"load\",pid=77,fd=3)) cubic bytes_received:5
";
        assert_eq!(received(sockets, 7, Some(8080)), 123);
        assert_eq!(received(sockets, 77, None), 5);
    }

    #[test]
    fn this_process_has_used_time_and_memory() {
        let pid = std::process::id();
        assert!(cpu_time(pid).is_ok());
        assert!(resident_bytes(pid).expect("Linux") > 100_000);
    }
}
