package stepkit

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	answerLimit  = 16 << 20 // bytes of an answer's body
	requestLimit = 16 << 20 // bytes of a request on standard input
)

// runHTTP sends the request that stands on standard input: a line `METHOD URL`, header lines, an empty line, and the
// body, unless --body names a file. The answer's body goes to out. It ends with 22 for a status of 400 or more, and
// with 7 where there is no answer; what is wrong never holds the URL, which may be a secret.
func runHTTP(args []string, kit string, in io.Reader, out io.Writer) (int, error) {
	flags := flag.NewFlagSet("http", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	body := flags.String("body", "", "")
	timeout := flags.Duration("timeout", time.Minute, "")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		return codeUsage, fmt.Errorf("usage: %s", Usage)
	}
	ctx, cancel := context.WithTimeout(context.Background(), *timeout)
	defer cancel()
	request, err := readRequest(ctx, io.LimitReader(in, requestLimit+1))
	if err != nil {
		return codeUsage, err
	}
	if *body != "" {
		file, err := os.Open(*body)
		if err != nil {
			return codeUsage, err
		}
		defer file.Close()
		info, err := file.Stat()
		if err != nil {
			return codeUsage, err
		}
		request.Body, request.ContentLength = file, info.Size()
		if info.Size() == 0 {
			request.Body = http.NoBody
		}
	}
	answer, err := client(kit).Do(request)
	if err != nil {
		return codeConnect, fmt.Errorf("no answer from %s: %w", request.URL.Hostname(), withoutURL(err))
	}
	defer answer.Body.Close()
	if _, err := io.Copy(out, io.LimitReader(answer.Body, answerLimit)); err != nil {
		return codeConnect, fmt.Errorf("the answer from %s was cut: %w", request.URL.Hostname(), err)
	}
	if answer.StatusCode >= 400 {
		return codeStatus, fmt.Errorf("%s answered with HTTP %s", request.URL.Hostname(), answer.Status)
	}
	return 0, nil
}

func readRequest(ctx context.Context, in io.Reader) (*http.Request, error) {
	reader := bufio.NewReader(in)
	lines := textproto.NewReader(reader)
	first, err := lines.ReadLine()
	if err != nil {
		return nil, errors.New("there is no request on standard input")
	}
	method, address, found := strings.Cut(first, " ")
	target, err := url.Parse(strings.TrimSpace(address))
	if !found || err != nil || target.Host == "" || target.Scheme != "http" && target.Scheme != "https" {
		return nil, errors.New("the URL is not an http or https URL")
	}
	headers, err := lines.ReadMIMEHeader()
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.New("a header of the request is malformed")
	}
	rest, err := io.ReadAll(reader)
	if err != nil {
		return nil, err
	}
	if len(rest) > requestLimit {
		return nil, fmt.Errorf("the request is larger than %d bytes", requestLimit)
	}
	request, err := http.NewRequestWithContext(ctx, method, target.String(), bytes.NewReader(rest))
	if err != nil {
		return nil, errors.New("the request is malformed")
	}
	request.Header = http.Header(headers)
	if request.Header.Get("User-Agent") == "" {
		request.Header.Set("User-Agent", "sentinel")
	}
	return request, nil
}

// client trusts the box's certificates and those that came with boxkit, and obeys the box's proxy variables.
func client(kit string) *http.Client {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if bundle, err := os.ReadFile(filepath.Join(kit, "ca.pem")); err == nil {
		pool.AppendCertsFromPEM(bundle)
	}
	return &http.Client{
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSClientConfig:     &tls.Config{RootCAs: pool},
			TLSHandshakeTimeout: 10 * time.Second,
		},
		// Credentials in a header or body go to the host that they are for, and to no other.
		CheckRedirect: func(next *http.Request, before []*http.Request) error {
			if len(before) >= 5 || next.URL.Host != before[0].URL.Host || next.Method != before[0].Method {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}
}

func withoutURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}
