//! Whether a route's calls are recorded, and where to.

use std::path::PathBuf;

use serde::Serialize;

use super::section::Section;

/// Whether a route's calls are recorded, and where to. Off by default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recording {
    /// Whether.
    pub enabled: bool,
    /// Whether the caller is told, first of all.
    pub announce: bool,
    /// Where to.
    pub folder: PathBuf,
    /// In which form.
    pub format: RecordingFormat,
    /// Whether an operator may listen in while a call runs, recorded or not.
    pub listen_in: bool,
}

/// The form of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordingFormat {
    /// PCM16 in stereo, at 8 kHz for a telephone, else at 24 kHz.
    Wav,
}

impl Recording {
    pub(super) fn read(outer: &mut Section<'_>) -> Self {
        let mut section = outer.section("recording");
        let folder_place = section.place_of("folder");
        let recording = Self {
            enabled: section.switch("enabled").unwrap_or_default(),
            announce: section.switch("announce").unwrap_or_default(),
            folder: section
                .optional("folder", "recordings")
                .map(|path| path.value.into())
                .unwrap_or_default(),
            format: section
                .choice("format", &[("wav", RecordingFormat::Wav)])
                .map_or(RecordingFormat::Wav, |choice| choice.value),
            listen_in: section.switch("listen_in").unwrap_or_default(),
        };
        if recording.enabled && recording.folder.as_os_str().is_empty() && !section.has_fault_below() {
            let what = format!("`{}` records to no folder", section.path());
            section.fault(&folder_place, what, "write folder = \"recordings\"");
        }
        section.finish();
        recording
    }
}
