package wire

// The journal records of README.md.

// MessageMax is how long a text in a record is at most, in bytes.
const MessageMax = 4096

// Reason is why a step ended as it did.
type Reason string

const (
	Passed               Reason = "Passed"
	ExitCode             Reason = "ExitCode"
	CommandTimeout       Reason = "CommandTimeout"
	NoResponseTimeout    Reason = "NoResponseTimeout"
	BuildTimeout         Reason = "BuildTimeout"
	Cancelled            Reason = "Cancelled"
	Skipped              Reason = "Skipped"
	ShellMissing         Reason = "ShellMissing"
	ArchitectureMismatch Reason = "ArchitectureMismatch"
	OutOfMemory          Reason = "OutOfMemory"
	BoxTerminated        Reason = "BoxTerminated"
	NodeDiskFull         Reason = "NodeDiskFull"
	Internal             Reason = "Internal"
)

// CollectReason is why a path was not collected.
type CollectReason string

const (
	TooLarge    CollectReason = "TooLarge"
	Unreadable  CollectReason = "Unreadable"
	Refused     CollectReason = "Refused"
	Unreachable CollectReason = "Unreachable"
	ReadFailed  CollectReason = "ReadFailed"
)

// Ending is why a session ended.
type Ending string

const (
	Closed     Ending = "Closed"
	Terminated Ending = "Terminated"
)

// Record is what one line of the journal tells besides its number and time.
type Record interface {
	// Kind is the record's `kind`.
	Kind() string
}

// RecordHead begins every line of the journal.
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
		Phase   Phase  `json:"phase"`
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
		Reason  Reason   `json:"reason"`
		Message string   `json:"message"`
		Log     LogFacts `json:"log"`
		Usage   Usage    `json:"usage"`
		// There are files in the step's artifacts directory.
		Artifacts bool `json:"artifacts,omitempty"`
	}
	SkippedRecord struct {
		Ordinal int    `json:"ordinal"`
		Reason  Reason `json:"reason"`
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
		What   string        `json:"what"`
		Path   string        `json:"path"`
		Reason CollectReason `json:"reason"`
		Text   string        `json:"text"`
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
		Reason  Ending   `json:"reason"`
	}
)

func (OpenedRecord) Kind() string        { return "opened" }
func (ServiceRecord) Kind() string       { return "service" }
func (QueuedRecord) Kind() string        { return "queued" }
func (StartedRecord) Kind() string       { return "started" }
func (FinishedRecord) Kind() string      { return "finished" }
func (SkippedRecord) Kind() string       { return "skipped" }
func (CancelledRecord) Kind() string     { return "cancelled" }
func (UploadedRecord) Kind() string      { return "uploaded" }
func (UploadRefusedRecord) Kind() string { return "upload-refused" }
func (UploadFailedRecord) Kind() string  { return "upload-failed" }
func (PackedRecord) Kind() string        { return "packed" }
func (CollectedRecord) Kind() string     { return "collected" }
func (CollectFailedRecord) Kind() string { return "collect-failed" }
func (CacheRecord) Kind() string         { return "cache" }
func (StoppingRecord) Kind() string      { return "stopping" }
func (ClosedRecord) Kind() string        { return "closed" }
