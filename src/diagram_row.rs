//! One row of a diagram: what one context did in one function, until somebody else acted.

use emu::{Access, ActorId, ContextId, Kind, Record};
use mmu::Pte;

/// Notes shown below a function's name; of more, those on page counts go first.
const NOTES: usize = 6;

/// Steps of one context in one function.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Row {
    step: u64,
    column: usize,
    context: ContextId,
    span: Option<&'static str>,
    /// The task, where a column has several and another acts than before.
    task: Option<String>,
    steps: u64,
    notes: Vec<Note>,
    mark: Option<&'static str>,
}

/// What steps did, those of a kind as one.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Note {
    /// Consecutive sectors of a frame.
    Sectors {
        verb: &'static str,
        frame: u64,
        first: u64,
        last: u64,
    },
    /// Anything else, so many times in a row.
    Other {
        kind: Kind,
        changes: bool,
        text: String,
        times: u64,
    },
}

impl Row {
    pub fn new(column: usize, record: &Record) -> Row {
        let mut row = Row {
            step: record.step,
            column,
            context: record.context,
            span: record.spans.innermost(),
            task: None,
            steps: 0,
            notes: Vec::new(),
            mark: None,
        };
        row.push(record);
        row
    }

    /// Whether this step goes on with what the row tells. Transfers of the disk are told as one.
    pub fn takes(&self, column: usize, record: &Record) -> bool {
        let devices = |a, b| matches!((a, b), (ContextId::Device(_), ContextId::Device(_)));
        self.column == column
            && self.mark.is_none()
            && (self.context == record.context || devices(self.context, record.context))
            && self.span == record.spans.innermost()
    }

    pub fn push(&mut self, record: &Record) {
        self.steps += 1;
        let note = Note::of(record);
        if !self.notes.last_mut().is_some_and(|last| last.absorb(&note)) {
            self.notes.push(note);
        }
    }

    /// Says whose steps these are.
    pub fn by(&mut self, task: &str) {
        self.task = Some(task.to_string());
    }

    /// Here the violation was found.
    pub fn mark(&mut self, word: &'static str) {
        self.mark = Some(word);
    }

    /// How much the story needs it: where the violation was found above all, then what changes
    /// an entry or touches data, then what reads an entry, then counts.
    pub fn weight(&self) -> u8 {
        let of_notes = self.notes.iter().map(Note::weight).max().unwrap_or(0);
        if self.mark.is_some() { 3 } else { of_notes }
    }

    pub fn step(&self) -> u64 {
        self.step
    }

    pub fn column(&self) -> usize {
        self.column
    }

    /// The column with this number is no more.
    pub fn column_removed(&mut self, column: usize) {
        self.column -= usize::from(self.column > column);
    }

    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(task) = &self.task {
            lines.push(format!("[{task}]"));
        }
        let name = self.span.unwrap_or(match self.context {
            ContextId::Thread(_) => "user mode",
            ContextId::Idle(_) => "schedule",
            ContextId::Handler(..) => "interrupt",
            ContextId::Device(slot) => match ActorId::device(usize::from(slot)).buffer_of() {
                Some(_) => "reaches memory",
                None => "DMA",
            },
        });
        lines.push(match self.steps {
            1 => name.to_string(),
            steps => format!("{name} x{steps}"),
        });
        let mut notes: Vec<&Note> = self.notes.iter().collect();
        while notes.len() > NOTES {
            let least = notes.iter().rposition(|note| note.weight() == 0);
            notes.remove(least.unwrap_or(notes.len() - 1));
        }
        lines.extend(notes.iter().map(|note| format!("  {}", note.text())));
        if self.notes.len() > NOTES {
            lines.push(format!("  ... {} more", self.notes.len() - NOTES));
        }
        lines.extend(self.mark.map(|word| format!("*** {word}")));
        lines
    }
}

impl Note {
    fn of(record: &Record) -> Note {
        let verb = match record.access {
            Access::Read => "reads",
            Access::Write => "writes",
            Access::Update => "updates",
            Access::Lock => "takes",
            Access::Unlock => "releases",
        };
        let object = record.object;
        let text = match (object.kind(), record.access) {
            (Kind::Sector, _) => {
                let (frame, sector) = (object.number() / 8, object.number() % 8);
                return Note::Sectors {
                    verb,
                    frame,
                    first: sector,
                    last: sector,
                };
            }
            // Reading an entry gives what it is, changing it what it was.
            (Kind::Pte, Access::Read) => format!("{object} is {}", Pte::from_raw(record.value)),
            (Kind::Pte, Access::Update) => format!("{object} was {}", Pte::from_raw(record.value)),
            _ => format!("{verb} {object}"),
        };
        Note::Other {
            kind: object.kind(),
            changes: record.access.writes(),
            text,
            times: 1,
        }
    }

    /// Makes one of two, if they tell the same.
    fn absorb(&mut self, next: &Note) -> bool {
        match (self, next) {
            (
                Note::Sectors {
                    verb, frame, last, ..
                },
                Note::Sectors {
                    verb: next_verb,
                    frame: next_frame,
                    first,
                    ..
                },
            ) => {
                let goes_on = verb == next_verb && frame == next_frame && *first == *last + 1;
                if goes_on {
                    *last = *first;
                }
                goes_on
            }
            (Note::Other { text, times, .. }, Note::Other { text: next, .. }) => {
                *times += u64::from(text == next);
                text == next
            }
            _ => false,
        }
    }

    fn weight(&self) -> u8 {
        match self {
            Note::Sectors { .. } => 2,
            Note::Other {
                kind: Kind::Page, ..
            } => 0,
            Note::Other { changes, .. } => 1 + u8::from(*changes),
        }
    }

    fn text(&self) -> String {
        match self {
            Note::Sectors {
                verb,
                frame,
                first,
                last,
            } if first == last => format!("{verb} frame {frame} sector {first}"),
            Note::Sectors {
                verb,
                frame,
                first,
                last,
            } => format!("{verb} frame {frame} sectors {first}-{last}"),
            Note::Other { text, times: 1, .. } => text.clone(),
            Note::Other { text, times, .. } => format!("{text} x{times}"),
        }
    }
}

/// At most `width` characters of `text`, with dots where it was cut.
pub(crate) fn truncated(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_string();
    }
    let kept: String = text.chars().take(width.saturating_sub(2)).collect();
    format!("{kept}..")
}
