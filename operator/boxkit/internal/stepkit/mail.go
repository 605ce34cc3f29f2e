package stepkit

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/mail"
	"net/smtp"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const mailTimeout = 60 * time.Second

type message struct {
	Host     string `json:"host"` // name:port
	Username string `json:"username"`
	Password string `json:"password"`
	From     string `json:"from"`
	To       string `json:"to"` // addresses, split at commas
	Subject  string `json:"subject"`
	Body     string `json:"body"`
}

// runMail sends the mail that stands on standard input as JSON. The password is sent over TLS, or to this machine.
func runMail(args []string, kit string, in io.Reader) (int, error) {
	if len(args) > 0 {
		return codeUsage, fmt.Errorf("usage: %s", Usage)
	}
	var m message
	if err := json.NewDecoder(io.LimitReader(in, requestLimit)).Decode(&m); err != nil {
		return codeUsage, fmt.Errorf("the mail is not JSON: %w", err)
	}
	from, err := mail.ParseAddress(m.From)
	if err != nil {
		return codeUsage, fmt.Errorf("%q is not an address", m.From)
	}
	to, err := mail.ParseAddressList(m.To)
	if err != nil {
		return codeUsage, fmt.Errorf("%q is not a list of addresses", m.To)
	}
	name, _, err := net.SplitHostPort(m.Host)
	if err != nil {
		return codeUsage, fmt.Errorf("%q is not name:port", m.Host)
	}
	connection, err := net.DialTimeout("tcp", m.Host, 10*time.Second)
	if err != nil {
		return codeConnect, err
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(mailTimeout))
	err = send(connection, name, kit, m, from, to)
	var refused *textproto.Error
	if errors.As(err, &refused) {
		err = fmt.Errorf("%d %s", refused.Code, refused.Msg)
	}
	return 0, err
}

func send(connection net.Conn, host, kit string, m message, from *mail.Address, to []*mail.Address) error {
	client, err := smtp.NewClient(connection, host)
	if err != nil {
		return err
	}
	defer client.Close()
	if offered, _ := client.Extension("STARTTLS"); offered {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if bundle, err := os.ReadFile(filepath.Join(kit, "ca.pem")); err == nil {
			pool.AppendCertsFromPEM(bundle)
		}
		if err := client.StartTLS(&tls.Config{ServerName: host, RootCAs: pool}); err != nil {
			return err
		}
	}
	if offered, _ := client.Extension("AUTH"); !offered {
		return errors.New("the server offers no login")
	}
	// PlainAuth refuses to send a password in the clear to another machine.
	if err := client.Auth(smtp.PlainAuth("", m.Username, m.Password, host)); err != nil {
		return err
	}
	if err := client.Mail(from.Address); err != nil {
		return err
	}
	for _, each := range to {
		if err := client.Rcpt(each.Address); err != nil {
			return err
		}
	}
	writer, err := client.Data()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(writer, text(m, from, to)); err != nil {
		return err
	}
	if err := writer.Close(); err != nil {
		return err
	}
	return client.Quit()
}

// text is the mail with its header; a newline in a header's value would begin another header.
func text(m message, from *mail.Address, to []*mail.Address) string {
	names := make([]string, len(to))
	for i, each := range to {
		names[i] = each.String()
	}
	subject := strings.Join(strings.Fields(m.Subject), " ")
	var b strings.Builder
	fmt.Fprintf(&b, "From: %s\r\nTo: %s\r\nSubject: %s\r\nDate: %s\r\n", from, strings.Join(names, ", "),
		mime.QEncoding.Encode("utf-8", subject), time.Now().Format(time.RFC1123Z))
	b.WriteString("MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n")
	body := strings.ReplaceAll(m.Body, "\r\n", "\n")
	b.WriteString(strings.ReplaceAll(body, "\n", "\r\n"))
	return b.String()
}
