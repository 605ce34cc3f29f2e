package session

import (
	"time"

	"sentinel.wercker.com/boxkit/internal/shell"
	"sentinel.wercker.com/boxkit/internal/wire"
)

// opened is what the first `open` settled for good: nothing in it changes, so that it needs no lock.
type opened struct {
	at          time.Time
	build       string
	attempt     int
	env         []string // literal: the image's with the build's laid over it
	entrypoint  []string
	shell       string // path, empty where there is none
	shellArgs   []string
	shellError  error // why there is none
	sourceDir   string
	pipelineDir string
	reportDir   string
	limits      wire.Limits
	services    []wire.Service
	cache       *wire.Cache // that was restored, or nil
}

// left is what remains of the build's time, if that is limited.
func (o *opened) left() (time.Duration, bool) {
	limit := o.limits.Build.Duration()
	return limit - time.Since(o.at), limit > 0
}

// late says whether the build's time is over.
func (o *opened) late() bool {
	left, limited := o.left()
	return limited && left <= 0
}

func (o *opened) grace() time.Duration { return o.limits.Grace.Duration() }

// newOpened settles what m asks for, in a box with the given environment.
func newOpened(m *wire.Open, image []string) *opened {
	env := literalEnv(image, m.Env)
	path, args, err := shell.Find(m.Shell, env)
	return &opened{
		build:       m.Build,
		attempt:     m.Attempt,
		env:         env,
		entrypoint:  m.Entrypoint,
		shell:       path,
		shellArgs:   args,
		shellError:  err,
		sourceDir:   m.SourceDir,
		pipelineDir: m.PipelineDir,
		reportDir:   m.ReportDir,
		limits:      m.Limits,
		services:    m.Services,
		cache:       m.Cache,
	}
}
