package wire

// The journal records of README.md.

// MessageMax is how long a text in a record is at most, in bytes.
const MessageMax = 4096

type RecordHead struct {
	Type string `json:"type"`
	Seq  int    `json:"seq"`
	Time string `json:"time"`
	Kind string `json:"kind"`
}

type (
	OpenedRecord struct {
		Build   string `json:"build"`
		Attempt int    `json:"attempt"`
		Plan    string `json:"plan"`
		Shell   string `json:"shell"`
	}
	ServiceRecord struct {
		Alias   string  `json:"alias"`
		Ready   bool    `json:"ready"`
		Seconds float64 `json:"seconds"`
	}
	QueuedRecord struct {
		Ordinal int    `json:"ordinal"`
		ID      string `json:"id"`
		Phase   string `json:"phase"`
	}
	StartedRecord struct {
		Ordinal int `json:"ordinal"`
	}
	LogFacts struct {
		Bytes   int64  `json:"bytes"`
		SHA256  string `json:"sha256"`
		Dropped int64  `json:"dropped"`
		Error   string `json:"error,omitempty"`
	}
	Usage struct {
		Seconds         float64 `json:"seconds"`
		CPUSeconds      float64 `json:"cpuSeconds"`
		PeakMemoryBytes int64   `json:"peakMemoryBytes"`
	}
	FinishedRecord struct {
		Ordinal int      `json:"ordinal"`
		Exit    int      `json:"exit"`
		Reason  string   `json:"reason"`
		Message string   `json:"message"`
		Log     LogFacts `json:"log"`
		Usage   Usage    `json:"usage"`
		// There are files in the step's artifacts directory.
		Artifacts bool `json:"artifacts,omitempty"`
	}
	SkippedRecord struct {
		Ordinal int    `json:"ordinal"`
		Reason  string `json:"reason"`
		Message string `json:"message"`
	}
	CancelledRecord struct {
		Reason string `json:"reason"`
		After  bool   `json:"after"`
	}
	UploadedRecord struct {
		What   string `json:"what"`
		Bytes  int64  `json:"bytes"`
		SHA256 string `json:"sha256"`
	}
	UploadRefusedRecord struct {
		What   string `json:"what"`
		Status int    `json:"status"`
		Text   string `json:"text"`
	}
	UploadFailedRecord struct {
		What string `json:"what"`
		Text string `json:"text"`
	}
	PackedRecord struct {
		What   string `json:"what"`
		Bytes  int64  `json:"bytes"`
		SHA256 string `json:"sha256"`
	}
	CollectedRecord struct {
		What   string `json:"what"`
		Path   string `json:"path"`
		Empty  bool   `json:"empty"`
		Files  int    `json:"files"`
		Bytes  int64  `json:"bytes"`
		SHA256 string `json:"sha256"`
		// What is not in the archive as it was, as a sentence.
		Notice string `json:"notice,omitempty"`
		// Of a cache: it is what was restored, and nothing was put; the bytes of its files.
		Unchanged bool  `json:"unchanged,omitempty"`
		Size      int64 `json:"size,omitempty"`
	}
	CollectFailedRecord struct {
		What   string `json:"what"`
		Path   string `json:"path"`
		Reason string `json:"reason"`
		Text   string `json:"text"`
	}
	CacheRecord struct {
		State   string  `json:"state"`
		Bytes   int64   `json:"bytes"`
		Size    int64   `json:"size"`
		Files   int     `json:"files"`
		Seconds float64 `json:"seconds"`
		Text    string  `json:"text,omitempty"`
	}
	StoppingRecord struct {
		Signal string `json:"signal"`
	}
	ClosedRecord struct {
		Pending []string `json:"pending"`
		Reason  string   `json:"reason"`
	}
)
