use super::*;
use crate::usage::UsageRow;

fn used(i: usize) -> Box<Entry> {
    Box::new(Entry::Usage(UsageRow { tenant: "t".into(), source: i.to_string(), ..UsageRow::default() }))
}

fn open(folder: &Path) -> Spill {
    let options = SpillOptions { folder: folder.to_owned(), bytes_max: 1 << 20 };
    let master = MasterKey::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
    Spill::open(options, &master).unwrap()
}

/// Everything in the spill, in order, and how much was torn.
fn drain(spill: &mut Spill) -> (Vec<Entry>, u64) {
    let (mut all, mut torn) = (Vec::new(), 0);
    loop {
        let replay = spill.replay(3).unwrap();
        torn += replay.torn;
        if replay.entries.is_empty() {
            return (all, torn);
        }
        spill.done(replay.entries.len()).unwrap();
        all.extend(replay.entries);
    }
}

fn sources(entries: &[Entry]) -> Vec<usize> {
    let source = |entry: &Entry| match entry {
        Entry::Usage(row) => row.source.parse().unwrap(),
        _ => panic!("only usage was written"),
    };
    entries.iter().map(source).collect()
}

#[test]
fn entries_come_back_in_order_across_batches_and_runs() {
    let folder = tempfile::tempdir().unwrap();
    let mut spill = open(folder.path());
    spill.append(&[used(0), used(1)]).unwrap();
    spill.append(&[used(2)]).unwrap();
    assert_eq!(spill.replay(1).unwrap().entries.len(), 1);
    spill.append(&[used(3)]).unwrap();
    spill.done(1).unwrap();
    drop(spill);
    let mut spill = open(folder.path());
    spill.append(&[used(4)]).unwrap();
    // The first was done, but its segment was not: it comes again, which does no harm.
    assert_eq!(sources(&drain(&mut spill).0), [0, 1, 2, 3, 4]);
    assert!(spill.is_empty() && segments(folder.path()).unwrap().is_empty());
    spill.append(&[used(5)]).unwrap();
    assert_eq!(sources(&drain(&mut spill).0), [5]);
}

#[test]
fn a_tail_torn_anywhere_costs_its_record_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut spill = open(folder.path());
    spill.append(&[used(0), used(1), used(2)]).unwrap();
    drop(spill);
    let file = path(folder.path(), 0);
    let whole = std::fs::read(&file).unwrap();
    let record = whole.len() / 3;
    for length in 0..whole.len() {
        std::fs::write(&file, &whole[..length]).unwrap();
        let (entries, torn) = drain(&mut open(folder.path()));
        assert_eq!(sources(&entries), (0..length / record).collect::<Vec<_>>(), "cut at {length}");
        assert_eq!(torn, u64::from(length % record != 0), "cut at {length}");
    }
}

#[test]
fn a_flipped_bit_is_counted_and_never_yields_another_entry() {
    let folder = tempfile::tempdir().unwrap();
    let mut spill = open(folder.path());
    spill.append(&[used(0), used(1), used(2)]).unwrap();
    drop(spill);
    let file = path(folder.path(), 0);
    let whole = std::fs::read(&file).unwrap();
    for at in 0..whole.len() {
        let mut altered = whole.clone();
        altered[at] ^= 0x10;
        std::fs::write(&file, &altered).unwrap();
        let (entries, torn) = drain(&mut open(folder.path()));
        assert!(torn > 0 && entries.len() < 3, "a flip at {at} was not seen");
        assert!(sources(&entries).iter().all(|source| *source < 3));
    }
}

#[test]
fn a_spill_sealed_with_another_key_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mut spill = open(folder.path());
    spill.append(&[used(0)]).unwrap();
    drop(spill);
    let options = SpillOptions { folder: folder.path().to_owned(), bytes_max: 1 << 20 };
    let mut other = Spill::open(options, &MasterKey::random().unwrap()).unwrap();
    let error = other.replay(1).err().unwrap().to_string();
    assert!(error.contains("another master key"), "{error}");
    drop(other);
    assert_eq!(sources(&drain(&mut open(folder.path())).0), [0]);
}

#[test]
fn one_folder_belongs_to_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    let options = SpillOptions { folder: folder.path().to_owned(), bytes_max: 1 << 20 };
    let second = Spill::open(options, &MasterKey::random().unwrap()).err().unwrap();
    assert!(second.to_string().contains("another patchbay uses it"), "{second}");
    drop(first);
    open(folder.path());
}

#[test]
fn a_full_spill_refuses_transcripts_first_and_usage_never() {
    let folder = tempfile::tempdir().unwrap();
    let options = SpillOptions { folder: folder.path().to_owned(), bytes_max: 4_000 };
    let mut spill = Spill::open(options, &MasterKey::random().unwrap()).unwrap();
    let mut closed = Vec::new();
    for i in 0..20 {
        for lane in Lane::ALL {
            if !spill.has_room(lane) && !closed.contains(&lane) {
                closed.push(lane);
            }
        }
        spill.append(&[used(i)]).unwrap();
    }
    assert_eq!(closed, [Lane::Transcript, Lane::Record]);
}
