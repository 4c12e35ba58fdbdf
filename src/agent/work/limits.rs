//! What a service may take, as the kernel has it: a limit that was asked for and is not in the
//! group's files is none, whatever the one who was asked for it said.

use super::cgroup::Cgroup;
use crate::workspace::manifest::Limits;

/// A memory limit is kept in whole pages.
const PAGE_BYTES: u64 = 64 * 1024;

/// The limits that are not there for this group, each with the reason.
pub fn missing(group: &Cgroup, limits: &Limits) -> Vec<String> {
    let value = |controller: &str, new: &str, old: &str| group.value(controller, new, old);
    let mut missing = Vec::new();
    let mut look = |what: &str, found: Option<String>, is_so: &dyn Fn(&str) -> bool| match found {
        None => missing.push(format!("{what}: the kernel has no such limit for its unit")),
        Some(found) if !is_so(&found) => {
            missing.push(format!("{what}: the kernel's limit for its unit is {found}"));
        }
        Some(_) => {}
    };
    if let Some(bytes) = limits.memory_bytes {
        let is_so = |found: &str| {
            found.parse::<u64>().is_ok_and(|found| found <= bytes && bytes - found < PAGE_BYTES)
        };
        look("memory", value("memory", "memory.max", "memory.limit_in_bytes"), &is_so);
        // Where nothing is swapped there is no such file.
        if let Some(swap) = value("memory", "memory.swap.max", "none") {
            look("memory with swap", Some(swap), &|found| found == "0");
        }
    }
    if let Some(percent) = limits.cpu_percent {
        let quota = value("cpu", "cpu.max", "cpu.cfs_quota_us");
        let period = value("cpu", "none", "cpu.cfs_period_us").unwrap_or_default();
        let is_so = |found: &str| is_quota(&format!("{found} {period}"), percent);
        look("cpu", quota, &is_so);
    }
    if let Some(pids) = limits.pids {
        look("pids", value("pids", "pids.max", "pids.max"), &|found| found == pids.to_string());
    }
    missing
}

/// `50000 100000`: half a CPU.
fn is_quota(text: &str, percent: u32) -> bool {
    let mut numbers = text.split_whitespace().map(|number| number.parse::<u64>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(quota), Some(period)) if period > 0 => {
            quota.saturating_mul(100) / period == u64::from(percent)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const LIMITS: Limits =
        Limits { memory_bytes: Some(64 << 20), cpu_percent: Some(150), pids: Some(32) };

    #[test]
    fn a_limit_is_what_the_kernel_says() {
        let trees = std::env::temp_dir().join(format!("hopbox-limits-{}", std::process::id()));
        let put = |file: &str, text: &str| {
            let path = trees.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{text}\n")).unwrap();
        };
        let new = "0::/a/u.service\n";
        let look = |groups: &str| missing(&Cgroup::at(&trees, groups), &LIMITS);
        assert_eq!(look(new).len(), 3);
        put("a/u.service/memory.max", "67108864");
        put("a/u.service/cpu.max", "150000 100000");
        put("a/u.service/pids.max", "32");
        assert_eq!(look(new), [""; 0]);
        for (file, bad, good) in [
            ("memory.max", "max", "67108864"),
            ("memory.max", "67108865", "67108864"),
            ("memory.swap.max", "max", "0"),
            ("cpu.max", "max 100000", "150000 100000"),
            ("cpu.max", "50000 100000", "15000 10000"),
            ("pids.max", "max", "32"),
        ] {
            put(&format!("a/u.service/{file}"), bad);
            let said = look(new);
            assert!(said.len() == 1 && said[0].contains(bad), "{file} {bad}: {said:?}");
            put(&format!("a/u.service/{file}"), good);
            assert_eq!(look(new), [""; 0], "{file} {good}");
        }
        let old = "8:pids:/a\n4:memory:/a\n2:cpu,cpuacct:/a\n0::/x\n";
        assert_eq!(look(old).len(), 3);
        put("memory/a/memory.limit_in_bytes", "67108864");
        put("cpu/a/cpu.cfs_quota_us", "75000");
        put("cpu/a/cpu.cfs_period_us", "50000");
        put("pids/a/pids.max", "32");
        assert_eq!(look(old), [""; 0]);
        assert_eq!(missing(&Cgroup::at(&trees, ""), &Limits::default()), [""; 0]);
        fs::remove_dir_all(&trees).unwrap();
    }
}
