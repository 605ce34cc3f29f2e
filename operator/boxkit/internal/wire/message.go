package wire

import (
	"fmt"
	"strings"
	"time"
)

// The messages of README.md. Fields that boxkit does not know are ignored.

type Seconds float64

func (s Seconds) Duration() time.Duration { return time.Duration(float64(s) * float64(time.Second)) }

type Envelope struct {
	Type string `json:"type"`
	ID   int64  `json:"id"`
}

type Hello struct {
	Protocol  int              `json:"protocol"` // of an operator that knows no range
	Protocols Range            `json:"protocols"`
	Since     int64            `json:"since"`
	Follow    map[string]int64 `json:"follow"`
}

type Range struct {
	Min int `json:"min"`
	Max int `json:"max"`
}

// Agree returns the highest protocol version that both sides speak. `version` is this boxkit's, for the error.
func (m *Hello) Agree(version string) (int, error) {
	theirs := m.Protocols
	if theirs == (Range{}) {
		theirs = Range{m.Protocol, m.Protocol}
	}
	agreed := min(theirs.Max, ProtocolMax)
	if agreed < max(theirs.Min, ProtocolMin) {
		return 0, ProtocolError(fmt.Sprintf("hello: the operator speaks protocol %d to %d, this boxkit (%s) %d to %d",
			theirs.Min, theirs.Max, version, ProtocolMin, ProtocolMax))
	}
	return agreed, nil
}

type Target struct {
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
}

type Service struct {
	Alias string `json:"alias"`
	Ports []int  `json:"ports"`
	Hosts bool   `json:"hosts"`
}

type Limits struct {
	Log   int64   `json:"log"`
	Build Seconds `json:"build"`
	Grace Seconds `json:"grace"`
	Close Seconds `json:"close"`
}

type Copy struct {
	From string `json:"from"`
	To   string `json:"to"`
}

type Open struct {
	Build       string      `json:"build"`
	Attempt     int         `json:"attempt"`
	Plan        string      `json:"plan"`
	Env         [][2]string `json:"env"`
	Masks       [][]byte    `json:"masks"`
	Shell       []string    `json:"shell"`
	Entrypoint  []string    `json:"entrypoint"`
	SourceDir   string      `json:"sourceDir"`
	PipelineDir string      `json:"pipelineDir"`
	ReportDir   string      `json:"reportDir"`
	Prepare     struct {
		Clear  []string `json:"clear"`
		Dirs   []string `json:"dirs"`
		Copies []Copy   `json:"copies"`
	} `json:"prepare"`
	Limits   Limits            `json:"limits"`
	Services []Service         `json:"services"`
	Uploads  map[string]Target `json:"uploads"`
	Cache    *Cache            `json:"cache"`
	Store    bool              `json:"store"` // each log will get a URL, with `upload` if not here
	CA       string            `json:"ca"`
	Proxy    string            `json:"proxy"`
}

// Cache is a cache that was restored to From, readable for all users: it is copied to To, which a step may write.
type Cache struct {
	From    string `json:"from"`
	To      string `json:"to"`
	Entries int    `json:"entries"`
}

func (m *Open) SetDefaults() {
	text := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	text(&m.SourceDir, "/pipeline/source")
	text(&m.PipelineDir, "/pipeline")
	text(&m.ReportDir, "/report")
	if m.Limits.Log <= 0 {
		m.Limits.Log = 100 << 20
	}
	if m.Limits.Grace <= 0 {
		m.Limits.Grace = 10
	}
	if m.Limits.Close <= 0 {
		m.Limits.Close = 60
	}
}

// Phase is a part of a build: the steps, or what runs after them in any case.
type Phase string

const (
	PhaseMain  Phase = "main"
	PhaseAfter Phase = "after"
)

// Kind is where a step comes from and who does it.
type Kind string

const (
	KindScript Kind = "script"
	KindStep   Kind = "step"
	// KindOperator is a step that the operator does outside the box, such as pushing an image. It has its place in the
	// queue and the journal like any other; the box waits for the verdict.
	KindOperator Kind = "operator"
)

// Step is one step of `start`.
type Step struct {
	Phase       Phase       `json:"phase"`
	Ordinal     int         `json:"ordinal"`
	ID          string      `json:"id"`
	Name        string      `json:"name"`
	DisplayName string      `json:"displayName"`
	Owner       string      `json:"owner"`
	Kind        Kind        `json:"kind"`
	Code        string      `json:"code"`
	Dir         string      `json:"dir"`
	Exports     [][2]string `json:"exports"`
	Cwd         string      `json:"cwd"`
	Timeouts    struct {
		Command    Seconds `json:"command"`
		NoResponse Seconds `json:"noResponse"`
	} `json:"timeouts"`
}

func (s *Step) Check() error {
	switch {
	case s.Ordinal < 1:
		return fmt.Errorf("step %q: ordinal %d; they count from 1", s.ID, s.Ordinal)
	case s.ID == "" || s.ID == "." || s.ID == ".." || strings.ContainsAny(s.ID, "/\x00\n"):
		return fmt.Errorf("step %d: id %q cannot name a directory", s.Ordinal, s.ID)
	case s.Phase != PhaseMain && s.Phase != PhaseAfter:
		return fmt.Errorf("step %q: phase %q; main and after are known", s.ID, s.Phase)
	case s.Kind != KindScript && s.Kind != KindStep && s.Kind != KindOperator:
		return fmt.Errorf("step %q: kind %q; script, step and operator are known", s.ID, s.Kind)
	case s.Kind == KindStep && s.Dir == "":
		return fmt.Errorf("step %q: kind step needs dir", s.ID)
	}
	return nil
}

// Results of the main phase.
const (
	ResultPassed = "passed"
	ResultFailed = "failed"
)

// Result is what after-steps see of the main phase.
type Result struct {
	Result                string `json:"result"`
	FailedStepDisplayName string `json:"failedStepDisplayName"`
	FailedStepMessage     string `json:"failedStepMessage"`
}

type Start struct {
	Steps  []*Step `json:"steps"`
	Result *Result `json:"result"`
}

type Cancel struct {
	Reason string `json:"reason"`
	After  bool   `json:"after"`
}

type Collect struct {
	What    string            `json:"what"`
	Path    string            `json:"path"`
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
	Limit   int64             `json:"limit"`
	Gzip    bool              `json:"gzip"`
	// A cache is packed when no process of the steps is left, which is after close; if it is what was restored, it is
	// not sent. Entries and Seconds bound it.
	Cache   bool    `json:"cache"`
	Entries int     `json:"entries"`
	Seconds Seconds `json:"seconds"`
}

type Upload struct {
	What string `json:"what"`
	Target
}

// A verdict ends a running step of kind operator. Exit 0 is a pass.
type Verdict struct {
	Ordinal int    `json:"ordinal"`
	Exit    int    `json:"exit"`
	Message string `json:"message"`
}

// A note is a line or more for the log of the step that runs, or the next one. Each key is noted once.
type Note struct {
	Key  string `json:"key"`
	Text string `json:"text"`
}
