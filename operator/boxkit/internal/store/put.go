// Package store speaks to the object store by presigned URLs: one request with retries, and the queue of finished logs.
package store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sentinel.wercker.com/boxkit/internal/wire"
)

// Refusal is a store's refusal: another try with the same URL would end the same way.
type Refusal struct {
	status int
	text   string
}

func (e *Refusal) Error() string { return fmt.Sprintf("HTTP %d: %s", e.status, e.text) }

// Record is what the journal says of it.
func (e *Refusal) Record(what string) wire.UploadRefusedRecord {
	return wire.UploadRefusedRecord{What: what, Status: e.status, Text: e.text}
}

// NewClient speaks to the object store: with the CA bundle and proxy of `open`, never with those of the image.
func NewClient(kit, ca, proxy string) *http.Client {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if bundle, err := os.ReadFile(filepath.Join(kit, "ca.pem")); err == nil {
		pool.AppendCertsFromPEM(bundle)
	}
	pool.AppendCertsFromPEM([]byte(ca))
	transport := &http.Transport{
		TLSClientConfig:       &tls.Config{RootCAs: pool},
		MaxIdleConnsPerHost:   2,
		IdleConnTimeout:       20 * time.Second,
		TLSHandshakeTimeout:   20 * time.Second,
		ResponseHeaderTimeout: 2 * time.Minute,
		ReadBufferSize:        256 << 10, // a cache comes in pieces of that size and not of 4 KiB
	}
	if proxy != "" {
		if address, err := url.Parse(proxy); err == nil {
			transport.Proxy = http.ProxyURL(address)
		}
	}
	return &http.Client{
		Transport: transport,
		// A presigned URL is for one place.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Content is what is sent: a file that stays open, whatever becomes of its name.
type Content struct {
	File *os.File
	Size int64
}

// Put sends content, again and again while the store cannot be reached or says that it is its own fault.
// It returns a *putError when the store refuses, and ctx's end as what went wrong last.
func Put(ctx context.Context, client *http.Client, to wire.Target, what Content) error {
	var last error
	for pause := 200 * time.Millisecond; ; pause = min(2*pause, 10*time.Second) {
		err := putOnce(ctx, client, to, what)
		var refused *Refusal
		if err == nil || errors.As(err, &refused) && refused.final() {
			return err
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return last
		case <-time.After(pause):
		}
	}
}

// final says whether another try with the same URL is in vain. 501 is how stores refuse conditional writes, 507 means
// that the store's disk is full, which an administrator has to fix.
func (e *Refusal) final() bool {
	return e.status == http.StatusNotImplemented || e.status == http.StatusInsufficientStorage ||
		e.status < 500 && e.status != http.StatusTooManyRequests && e.status != http.StatusRequestTimeout
}

var answerWithin = 30 * time.Second // a test has less

// patience is how long one try may take: stores that take a request and never answer it have been seen, and a log of
// some bytes must not wait for such a one as long as an output of gigabytes.
func patience(size int64) time.Duration {
	const slowest = 256 << 10 // bytes a second
	return answerWithin + time.Duration(size/slowest)*time.Second
}

func putOnce(ctx context.Context, client *http.Client, to wire.Target, what Content) error {
	var body io.Reader = io.NewSectionReader(what.File, 0, what.Size)
	if what.Size == 0 {
		body = http.NoBody // else a length of 0 would mean that it is unknown
	}
	ctx, cancel := context.WithTimeout(ctx, patience(what.Size))
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, to.URL, body)
	if err != nil {
		return &Refusal{text: "the URL cannot be used"}
	}
	request.ContentLength = what.Size
	for name, value := range to.Headers {
		if strings.EqualFold(name, "host") {
			request.Host = value
		} else if !strings.EqualFold(name, "content-length") {
			request.Header.Set(name, value)
		}
	}
	response, err := client.Do(request)
	if err != nil {
		return WithoutURL(err)
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(response.Body, 512))
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10))
	if response.StatusCode >= 200 && response.StatusCode < 300 {
		return nil
	}
	if response.StatusCode == http.StatusPreconditionFailed && conditional(to) {
		return nil // an earlier try stored it, and we did not hear of that
	}
	return &Refusal{status: response.StatusCode, text: strings.TrimSpace(string(text))}
}

// conditional says whether a URL stores an object once only.
func conditional(to wire.Target) bool {
	for name := range to.Headers {
		if strings.EqualFold(name, "if-none-match") {
			return true
		}
	}
	return false
}

// WithoutURL keeps a presigned URL, which is a secret, out of errors.
func WithoutURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}
