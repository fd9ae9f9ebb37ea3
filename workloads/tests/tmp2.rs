use emu::{Costs, Size};
use os::{Config, Kernel};
use workloads::{CATALOGUE, Params};

fn patches(row: &str, kernel: &str) -> Vec<&'static dyn os::Patch> {
    let base = os::fixes::KERNELS.iter().find(|k| k.name == kernel).unwrap();
    let row = os::fixes::ROWS.iter().find(|r| r.id == row);
    base.patches.iter().chain(row.map_or(&[][..], |r| r.patches)).map(|n| os::fixes::patch(n).unwrap()).collect()
}

fn go(name: &str, kernel: &str, row: &str, set: &[(&str, u64)], seeds: std::ops::RangeInclusive<u64>, show: bool) {
    let r = *CATALOGUE.iter().find(|r| r.name() == name).unwrap();
    let params = Params::of(r, set).unwrap();
    let flush = if row == "never" { os::flush::ALL[1] } else { os::flush::ALL[0] };
    let kernel_ = Kernel::new(Config { costs: Costs::preset("skylake-2s").unwrap(), size: Size { cpus: std::env::var("CPUS").map_or(r.cpus(), |s| s.parse().unwrap()), frames: (r.memory_mib(&params) * 256) as u32 }, patches: patches(row, kernel), flush });
    kernel_.prepare(|s| r.prepare(s, &params));
    let mut words = std::collections::BTreeMap::new();
    let total = seeds.clone().count();
    let (mut failing, mut steps) = (0, 0);
    let t = std::time::Instant::now();
    for seed in seeds {
        let stop = kernel_.run(seed);
        steps += kernel_.machine.steps();
        assert_eq!(stop, emu::Stop::Finished, "{name} seed {seed} {:?}", kernel_.machine.violations());
        let mut w: Vec<_> = kernel_.machine.violations().iter().map(|v| format!("{}:{}", v.oracle, v.word)).collect();
        w.sort(); w.dedup();
        failing += usize::from(!w.is_empty());
        for w in w { *words.entry(w).or_insert(0) += 1; }
        let text = kernel_.console();
        for l in text.lines().filter(|l| l.contains("Bad data")) { *words.entry(l[..20].to_string()).or_insert(0) += 1; }
        if show { println!("{}exit {:?} steps {} cycles {} {:?}", kernel_.console(), kernel_.exit_status(), kernel_.machine.steps(), kernel_.machine.now(), kernel_.counters());
           for v in kernel_.machine.violations().iter().take(6) { println!("  {v}"); } }
    }
    println!("{name} {kernel} {row} {set:?}: {failing}/{total} {words:?} steps/run {} {:?}", steps / total as u64, t.elapsed());
}

#[test]
fn t() {
    let n: u64 = std::env::var("SEEDS").map_or(20, |s| s.parse().unwrap());
    for (w, r, f) in [(4,16,64),(6,24,96),(8,32,128),(16,64,256),(40,160,160)] {
        go("dma-thread", "v2.6.18", "", &[("workers", w), ("read_kib", r), ("file_kib", f)], 1..=n, false);
    }
    go("dma-thread", "v2.6.29", "", &[], 1..=n, false);
}
