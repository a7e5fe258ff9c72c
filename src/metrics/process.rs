//! What the system tells of this process: open files, memory, processor time.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use rustix::fs::{Dir, Mode, OFlags, open};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::metrics::family::Family;

/// The files of `/proc` about this process. They stay open, so that they can be read while no file is left.
#[derive(Debug)]
pub(crate) struct Process {
    started: SystemTime,
    /// Sizes of memory in pages.
    statm: Option<File>,
    /// Open files. Reading moves its position.
    files: Option<Mutex<Dir>>,
}

impl Process {
    /// Opens the files. A system without them has no such metrics.
    pub(crate) fn new() -> Self {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let files = open("/proc/self/fd", flags, Mode::empty()).and_then(Dir::new);
        Self {
            started: SystemTime::now(),
            statm: File::open("/proc/self/statm").ok(),
            files: files.ok().map(Mutex::new),
        }
    }

    /// The time at which the process started.
    pub(crate) fn started(&self) -> SystemTime {
        self.started
    }

    pub(crate) fn collect(&self, out: &mut Vec<Family>) {
        let mut gauge = |name: &'static str, help, value: Option<f64>| {
            if let Some(value) = value {
                out.push(Family::gauge(name, help).with(&[], value));
            }
        };
        let open_files = self.open_files();
        let limit = getrlimit(Resource::Nofile).current;
        let limit = limit.map_or(f64::INFINITY, |limit| limit as f64);
        gauge("tailwater_open_files", "Open files of the process", open_files);
        gauge("tailwater_open_files_limit", "Limit of open files", Some(limit));
        gauge("process_open_fds", "Number of open file descriptors", open_files);
        gauge("process_max_fds", "Maximum number of open file descriptors", Some(limit));
        let (size, resident) = self.memory().unzip();
        gauge("process_virtual_memory_bytes", "Virtual memory size in bytes", size);
        gauge("process_resident_memory_bytes", "Resident memory size in bytes", resident);
        let started = seconds(self.started);
        let help = "Start time of the process since unix epoch in seconds";
        gauge("process_start_time_seconds", help, Some(started));
        let time = clock_gettime(ClockId::ProcessCPUTime);
        let spent = time.tv_sec as f64 + time.tv_nsec as f64 / 1e9;
        let help = "Total user and system CPU time spent in seconds";
        out.push(Family::counter("process_cpu_seconds_total", help).with(&[], spent));
    }

    fn open_files(&self) -> Option<f64> {
        let mut files = self.files.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        // Linux counts them since 6.2. Reading 10 000 names takes milliseconds.
        let counted = files.stat().ok()?.st_size;
        if counted > 0 {
            return Some(counted as f64);
        }
        files.rewind();
        let mut count = 0_u32;
        while let Some(entry) = files.read() {
            let is_file =
                entry.ok()?.file_name().to_bytes().first().is_some_and(u8::is_ascii_digit);
            count += u32::from(is_file);
        }
        Some(f64::from(count))
    }

    /// Virtual and resident memory in bytes.
    fn memory(&self) -> Option<(f64, f64)> {
        let text = read(self.statm.as_ref()?).ok()?;
        let mut pages = text.split_ascii_whitespace().map_while(|field| field.parse::<f64>().ok());
        let page = rustix::param::page_size() as f64;
        Some((pages.next()? * page, pages.next()? * page))
    }
}

/// Reads a file of one line from its start.
fn read(file: &File) -> io::Result<String> {
    let mut line = [0; 256];
    let length = file.read_at(&mut line, 0)?;
    Ok(String::from_utf8_lossy(line.get(..length).unwrap_or_default()).into_owned())
}

/// A time as seconds since 1970.
pub(crate) fn seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::family::Value;

    #[test]
    fn the_system_tells_of_this_process() {
        let process = Process::new();
        let value = |name: &str| {
            let mut families = Vec::new();
            process.collect(&mut families);
            let family = families.into_iter().find(|family| family.name == name).expect(name);
            match family.samples.first().map(|sample| &sample.value) {
                Some(Value::Number(value)) => *value,
                other => panic!("{name}: {other:?}"),
            }
        };
        let before = value("tailwater_open_files");
        let opened: Vec<_> = (0..50).map(|_| File::open("/dev/null").unwrap()).collect();
        // Other tests open and close files meanwhile.
        assert!(value("process_open_fds") > before + 20.0);
        drop(opened);
        assert!(value("tailwater_open_files_limit") >= value("tailwater_open_files"));
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_virtual_memory_bytes") > value("process_resident_memory_bytes"));
        assert!(value("process_cpu_seconds_total") > 0.0);
        assert!(value("process_start_time_seconds") > 1.7e9);
    }
}
