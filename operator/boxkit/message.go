package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// The messages of README.md. Fields that boxkit does not know are ignored.

type seconds float64

func (s seconds) duration() time.Duration { return time.Duration(float64(s) * float64(time.Second)) }

type envelope struct {
	Type string `json:"type"`
	ID   int64  `json:"id"`
}

type helloMessage struct {
	Protocol  int              `json:"protocol"` // of an operator that knows no range
	Protocols protocolRange    `json:"protocols"`
	Since     int64            `json:"since"`
	Follow    map[string]int64 `json:"follow"`
}

type protocolRange struct {
	Min int `json:"min"`
	Max int `json:"max"`
}

// agree returns the highest protocol version that both sides speak.
func (m *helloMessage) agree() (int, error) {
	theirs := m.Protocols
	if theirs == (protocolRange{}) {
		theirs = protocolRange{m.Protocol, m.Protocol}
	}
	agreed := min(theirs.Max, protocolMax)
	if agreed < max(theirs.Min, protocolMin) {
		return 0, protocolError(fmt.Sprintf("hello: the operator speaks protocol %d to %d, this boxkit (%s) %d to %d",
			theirs.Min, theirs.Max, version, protocolMin, protocolMax))
	}
	return agreed, nil
}

type upload struct {
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
}

type service struct {
	Alias string `json:"alias"`
	Ports []int  `json:"ports"`
	Hosts bool   `json:"hosts"`
}

type limits struct {
	Log   int64   `json:"log"`
	Build seconds `json:"build"`
	Grace seconds `json:"grace"`
	Close seconds `json:"close"`
}

type copySpec struct {
	From string `json:"from"`
	To   string `json:"to"`
}

type openMessage struct {
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
		Dirs   []string   `json:"dirs"`
		Copies []copySpec `json:"copies"`
	} `json:"prepare"`
	Limits   limits            `json:"limits"`
	Services []service         `json:"services"`
	Uploads  map[string]upload `json:"uploads"`
	Store    bool              `json:"store"` // each log will get a URL, with `upload` if not here
	CA       string            `json:"ca"`
	Proxy    string            `json:"proxy"`
}

func (m *openMessage) setDefaults() {
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

const (
	phaseMain  = "main"
	phaseAfter = "after"
)

// kindOperator is a step that the operator does outside the box, such as pushing an image. It has its place in the
// queue and the journal like any other; the box waits for the verdict.
const kindOperator = "operator"

type stepSpec struct {
	Phase       string      `json:"phase"`
	Ordinal     int         `json:"ordinal"`
	ID          string      `json:"id"`
	Name        string      `json:"name"`
	DisplayName string      `json:"displayName"`
	Owner       string      `json:"owner"`
	Kind        string      `json:"kind"`
	Code        string      `json:"code"`
	Dir         string      `json:"dir"`
	Exports     [][2]string `json:"exports"`
	Cwd         string      `json:"cwd"`
	Timeouts    struct {
		Command    seconds `json:"command"`
		NoResponse seconds `json:"noResponse"`
	} `json:"timeouts"`
}

func (s *stepSpec) check() error {
	switch {
	case s.Ordinal < 1:
		return fmt.Errorf("step %q: ordinal %d; they count from 1", s.ID, s.Ordinal)
	case s.ID == "" || s.ID == "." || s.ID == ".." || strings.ContainsAny(s.ID, "/\x00\n"):
		return fmt.Errorf("step %d: id %q cannot name a directory", s.Ordinal, s.ID)
	case s.Phase != phaseMain && s.Phase != phaseAfter:
		return fmt.Errorf("step %q: phase %q; main and after are known", s.ID, s.Phase)
	case s.Kind != "script" && s.Kind != "step" && s.Kind != kindOperator:
		return fmt.Errorf("step %q: kind %q; script, step and operator are known", s.ID, s.Kind)
	case s.Kind == "step" && s.Dir == "":
		return fmt.Errorf("step %q: kind step needs dir", s.ID)
	}
	return nil
}

type resultSpec struct {
	Result                string `json:"result"`
	FailedStepDisplayName string `json:"failedStepDisplayName"`
	FailedStepMessage     string `json:"failedStepMessage"`
}

type startMessage struct {
	Steps  []*stepSpec `json:"steps"`
	Result *resultSpec `json:"result"`
}

type cancelMessage struct {
	Reason string `json:"reason"`
	After  bool   `json:"after"`
}

type collectMessage struct {
	What    string            `json:"what"`
	Path    string            `json:"path"`
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
	Limit   int64             `json:"limit"`
	Gzip    bool              `json:"gzip"`
}

type uploadMessage struct {
	What string `json:"what"`
	upload
}

// A verdict ends a running step of kind operator. Exit 0 is a pass.
type verdictMessage struct {
	Ordinal int    `json:"ordinal"`
	Exit    int    `json:"exit"`
	Message string `json:"message"`
}

// A note is a line or more for the log of the step that runs, or the next one. Each key is noted once.
type noteMessage struct {
	Key  string `json:"key"`
	Text string `json:"text"`
}

// What boxkit sends.

type welcomeReply struct {
	Type      string        `json:"type"`
	Protocol  int           `json:"protocol"` // agreed on for this connection
	Protocols protocolRange `json:"protocols"`
	Version   string        `json:"version"`
	Seq       int64         `json:"seq"`
	Build     string        `json:"build"`
	Attempt   int           `json:"attempt"`
}

type okReply struct {
	Type string `json:"type"`
	ID   int64  `json:"id"`
}

type environmentReply struct {
	Type string      `json:"type"`
	ID   int64       `json:"id"`
	Env  [][2]string `json:"env"`
}

type errorReply struct {
	Type string `json:"type"`
	ID   int64  `json:"id"`
	Code string `json:"code"`
	Text string `json:"text"`
}

type beat struct {
	Type string `json:"type"`
	N    int64  `json:"n"`
}

// refusal is a request that boxkit does not carry out; its state is unchanged.
type refusal struct {
	code string
	text string
}

func (r *refusal) Error() string { return r.code + ": " + r.text }

func refuse(code, format string, args ...any) *refusal {
	return &refusal{code: code, text: fmt.Sprintf(format, args...)}
}

func decode(message []byte, into any) error {
	if err := json.Unmarshal(message, into); err != nil {
		return refuse("InvalidRequest", "%v", err)
	}
	return nil
}
