// SPDX-License-Identifier: Apache-2.0

// Package wire is the connection to a message bus below godbus, which sees a
// transport that passes no descriptors. It takes method calls out of the
// stream, with the descriptors that came along.
package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	godbus "github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit/dbus/refusal"
)

const (
	defaultAddress = "unix:path=/run/dbus/system_bus_socket"

	// sendTimeout bounds one message on its way to the bus. A bus that takes
	// nothing for so long is lost.
	sendTimeout = 30 * time.Second

	// messageLimit is the D-Bus specification's limit of a message, in bytes.
	messageLimit = 1 << 27

	// bodyLimit is more than the longest argument list and environment of a
	// process together. Decoded, a message takes up to twenty times its size,
	// and every user of the bus may send one.
	bodyLimit = 3 << 20

	// headerLimit is more than any path and names of this service together. The
	// bus lets a path be as long as a message.
	headerLimit = 64 << 10

	// rightsSpace holds the control message of SCM_MAX_FD (253) descriptors.
	rightsSpace = 4096
)

// ErrNoBus is in the chain of the error of [Dial] when nothing listens at the
// bus's address.
var ErrNoBus = errors.New("there is no message bus")

// Options of [New].
type Options struct {
	Log *slog.Logger
	// Calls takes a method call, and the descriptors that came with it. It must
	// not block.
	Calls func(m *godbus.Message, fds []int)
	// Later runs a function that may block.
	Later func(func())
}

// Wire is the transport that godbus reads and writes. Method calls never reach
// godbus: it keeps descriptors that no handler asked for (and those that a
// message carries but its body does not name, for good), it keeps the ones that
// a handler returns, and it answers with errors that are not standard.
type Wire struct {
	conn  *net.UnixConn
	log   *slog.Logger
	calls func(m *godbus.Message, fds []int)
	later func(func())

	framed bool   // the handshake is over
	rest   []byte // of the message that godbus reads
	fds    []int  // of the message that is being read
	oob    [rightsSpace]byte

	sendMu sync.Mutex
	serial atomic.Uint32
}

// New returns the transport over a connection of [Dial], before its handshake.
func New(conn *net.UnixConn, o Options) *Wire {
	return &Wire{conn: conn, log: o.Log, calls: o.Calls, later: o.Later}
}

// Dial connects to the first of the bus addresses that answers. Addresses are
// those of the D-Bus specification, of which only unix:path= and
// unix:abstract= are understood.
func Dial(addresses string) (*net.UnixConn, error) {
	if addresses == "" {
		addresses = os.Getenv("DBUS_SYSTEM_BUS_ADDRESS")
	}
	if addresses == "" {
		addresses = defaultAddress
	}
	var errs error
	for address := range strings.SplitSeq(addresses, ";") {
		name, err := socketName(address)
		if err != nil {
			errs = errors.Join(errs, err)
			continue
		}
		conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: name, Net: "unix"})
		if err == nil {
			return conn, nil
		}
		if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ECONNREFUSED) {
			err = fmt.Errorf("%w: %w", ErrNoBus, err)
		}
		errs = errors.Join(errs, fmt.Errorf("cannot connect to the bus at %s: %w", address, err))
	}
	return nil, errs
}

// socketName returns the name of the socket that a bus address means, with a
// leading @ for an abstract one.
func socketName(address string) (string, error) {
	keys, ok := strings.CutPrefix(address, "unix:")
	if !ok {
		return "", fmt.Errorf("cannot connect to the bus at %q: only unix:path= and unix:abstract= addresses are supported", address)
	}
	for pair := range strings.SplitSeq(keys, ",") {
		key, value, _ := strings.Cut(pair, "=")
		if key != "path" && key != "abstract" {
			continue
		}
		name, err := godbus.UnescapeBusAddressValue(value)
		if err != nil {
			return "", fmt.Errorf("cannot read bus address %q: %w", address, err)
		}
		if key == "abstract" {
			name = "@" + name
		}
		return name, nil
	}
	return "", fmt.Errorf("cannot connect to the bus at %q: it names neither a path nor an abstract socket", address)
}

// Read gives godbus the bytes of replies and signals. It is called by one
// goroutine at a time.
func (w *Wire) Read(p []byte) (int, error) {
	if !w.framed {
		return w.conn.Read(p)
	}
	for len(w.rest) == 0 {
		raw, err := w.next()
		fds := w.fds
		w.fds = nil
		if err != nil {
			CloseAll(fds)
			return 0, err
		}
		w.pass(raw, fds)
	}
	n := copy(p, w.rest)
	w.rest = w.rest[n:]
	return n, nil
}

// pass hands one message on, nil for one that was refused. godbus closes the
// connection when it cannot decode a message, so it gets none that has not been
// decoded before.
func (w *Wire) pass(raw []byte, fds []int) {
	var msg *godbus.Message
	var err error
	if raw != nil {
		msg, err = godbus.DecodeMessage(bytes.NewReader(raw))
	}
	if err == nil && msg != nil && msg.Type == godbus.TypeMethodCall {
		w.calls(msg, fds)
		return
	}
	CloseAll(fds) // no reply to this service carries any
	switch {
	case err != nil:
		w.log.Debug("bus message dropped", slog.String("error", err.Error()))
	case msg != nil:
		w.rest = raw
	}
}

// next reads one message. It returns nil for one that is too long: a call is
// refused, and nothing else of that length is meant for this service.
func (w *Wire) next() ([]byte, error) {
	head := make([]byte, headSize)
	if err := w.fill(head); err != nil {
		return nil, err
	}
	order := byteOrder(head)
	body, fields := uint64(order.Uint32(head[4:])), (uint64(order.Uint32(head[12:]))+7)/8*8
	if headSize+fields+body > messageLimit {
		return nil, fmt.Errorf("cannot read bus message: %d bytes are more than the protocol allows", headSize+fields+body)
	}
	raw := make([]byte, headSize+fields, headSize+fields+body)
	copy(raw, head)
	if err := w.fill(raw[headSize:]); err != nil {
		return nil, err
	}
	if body > bodyLimit || fields > headerLimit {
		if godbus.Type(head[1]) == godbus.TypeMethodCall {
			w.refuse(raw, body)
		}
		return nil, w.skip(body)
	}
	raw = raw[:headSize+fields+body]
	return raw, w.fill(raw[headSize+fields:])
}

// headSize is the length of a message's fixed header.
const headSize = 16

func byteOrder(head []byte) binary.ByteOrder {
	if head[0] == 'B' {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

func (w *Wire) skip(n uint64) error {
	buf := make([]byte, 64<<10)
	for n > 0 {
		part := buf[:min(n, uint64(len(buf)))]
		if err := w.fill(part); err != nil {
			return err
		}
		n -= uint64(len(part))
	}
	return nil
}

// refuse has a call answered of which only the header was read, and keeps
// nothing of it.
func (w *Wire) refuse(header []byte, size uint64) {
	sender, ok := senderOf(header)
	if !ok || godbus.Flags(header[2])&godbus.FlagNoReplyExpected != 0 {
		return
	}
	message := fmt.Sprintf("the call's header and arguments are %d and %d bytes long: at most %d and %d are taken", len(header), size, headerLimit, bodyLimit)
	reply := &godbus.Message{Type: godbus.TypeError, Body: []any{message}, Headers: map[godbus.HeaderField]godbus.Variant{
		godbus.FieldDestination: godbus.MakeVariant(sender),
		godbus.FieldReplySerial: godbus.MakeVariant(byteOrder(header).Uint32(header[8:])),
		godbus.FieldErrorName:   godbus.MakeVariant(refusal.NameLimitsExceeded),
		godbus.FieldSignature:   godbus.MakeVariant(godbus.SignatureOf(message)),
	}}
	w.later(func() {
		if err := w.SendMessage(reply); err != nil {
			w.log.Warn("bus reply not sent", slog.String("error", err.Error()))
		}
	})
}

// senderOf finds the sender among the fields of a header, which are an array
// of structures of a code and a variant (D-Bus specification, "Message
// Format"). godbus decodes no header without its body.
func senderOf(header []byte) (string, bool) {
	order := byteOrder(header)
	pos := headSize
	for pos = (pos + 7) &^ 7; pos+4 <= len(header); pos = (pos + 7) &^ 7 {
		code, kind := godbus.HeaderField(header[pos]), header[pos+2]
		if header[pos+1] != 1 {
			return "", false // no field has a type of more than one letter
		}
		pos += 4
		length, tail := 0, 0
		switch kind {
		case 'g':
			if pos >= len(header) {
				return "", false
			}
			length, tail = int(header[pos]), 1
			pos++
		case 's', 'o', 'u':
			pos = (pos + 3) &^ 3
			if pos+4 > len(header) {
				return "", false
			}
			if kind != 'u' {
				length, tail = int(order.Uint32(header[pos:])), 1
			}
			pos += 4
		default:
			return "", false
		}
		if length > len(header)-pos-tail {
			return "", false
		}
		if code == godbus.FieldSender && kind == 's' {
			return string(header[pos : pos+length]), true
		}
		pos += length + tail
	}
	return "", false
}

// fill reads len(b) bytes of one message. A message's descriptors come with
// its first byte, and the kernel never delivers them with an earlier one
// (unix(7)), so those that come along are the message's.
func (w *Wire) fill(b []byte) error {
	for len(b) > 0 {
		n, oobn, _, _, err := w.conn.ReadMsgUnix(b, w.oob[:])
		w.fds = append(w.fds, rightsIn(w.oob[:oobn])...)
		if err != nil {
			return err
		}
		if n == 0 {
			return io.EOF
		}
		b = b[n:]
	}
	return nil
}

// rightsIn returns the descriptors of received control messages.
func rightsIn(oob []byte) (all []int) {
	messages, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return nil // nothing was installed
	}
	for i := range messages {
		fds, err := syscall.ParseUnixRights(&messages[i])
		if err != nil {
			continue // not SCM_RIGHTS
		}
		all = append(all, fds...)
	}
	return all
}

// CloseAll closes descriptors that nothing was written to.
func CloseAll(fds []int) {
	for _, fd := range fds {
		_ = syscall.Close(fd) // see above
	}
}

// Write sends what godbus wrote: lines of the handshake, then one whole
// message a call. The handshake's last line is preceded by the negotiation of
// descriptors, which godbus leaves out on a transport that passes none.
func (w *Wire) Write(p []byte) (int, error) {
	if !w.framed && bytes.Equal(p, []byte("BEGIN\r\n")) {
		if err := w.negotiate(); err != nil {
			return 0, err
		}
		w.framed = true
	}
	if err := w.send(p, nil); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (w *Wire) negotiate() error {
	if err := w.send([]byte("NEGOTIATE_UNIX_FD\r\n"), nil); err != nil {
		return err
	}
	var line []byte
	for !bytes.HasSuffix(line, []byte("\n")) && len(line) < 256 {
		var b [1]byte
		if err := w.fill(b[:]); err != nil {
			return err
		}
		line = append(line, b[0])
	}
	if string(bytes.TrimSpace(line)) != "AGREE_UNIX_FD" {
		return fmt.Errorf("the bus does not pass file descriptors: %q", line)
	}
	return nil
}

// send writes p, with the descriptors, which stay open.
func (w *Wire) send(p []byte, fds []int) error {
	w.sendMu.Lock()
	defer w.sendMu.Unlock()
	err := w.conn.SetWriteDeadline(time.Now().Add(sendTimeout))
	n := 0
	if err == nil && len(fds) > 0 {
		n, _, err = w.conn.WriteMsgUnix(p, syscall.UnixRights(fds...), nil)
	}
	if err == nil {
		_, err = w.conn.Write(p[n:])
	}
	if err != nil {
		_ = w.conn.Close() // a message cut short cannot be followed by another
		return fmt.Errorf("cannot send to the bus: %w", err)
	}
	return nil
}

// SendMessage encodes and sends m with a new serial. The descriptors that its
// body holds stay open.
func (w *Wire) SendMessage(m *godbus.Message) error {
	count, err := m.CountFds()
	if err != nil {
		return err
	}
	if count > 0 {
		m.Headers[godbus.FieldUnixFDs] = godbus.MakeVariant(uint32(count))
	}
	var buf bytes.Buffer
	fds, err := m.EncodeToWithFDs(&buf, binary.LittleEndian)
	if err != nil {
		return err
	}
	raw := buf.Bytes()
	binary.LittleEndian.PutUint32(raw[8:], w.GetSerial()) // godbus has no setter
	return w.send(raw, fds)
}

// Close closes the connection.
func (w *Wire) Close() error { return w.conn.Close() }

// GetSerial returns the next serial number of a message, never 0.
func (w *Wire) GetSerial() uint32 {
	for {
		if n := w.serial.Add(1); n != 0 {
			return n
		}
	}
}

// RetireSerial does nothing: no serial is used again before 2^32 others.
func (w *Wire) RetireSerial(uint32) {}
