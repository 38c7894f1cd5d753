// SPDX-License-Identifier: Apache-2.0

package dbus

import (
	"context"

	godbus "github.com/godbus/dbus/v5"

	"github.com/davit-engine/davit"
	"github.com/davit-engine/davit/dbus/refusal"
	"github.com/davit-engine/davit/dbus/values"
)

// logControlPath is where org.freedesktop.LogControl1(5) has to be.
const logControlPath godbus.ObjectPath = "/org/freedesktop/LogControl1"

// logControl is the thing behind it.
type logControl struct{}

// syslogLevels are the levels of syslog(3) in the engine's, which has fewer.
func syslogLevels() map[string]string {
	return map[string]string{
		"emerg": "error", "alert": "error", "crit": "error", "err": "error",
		"warning": "warn", "notice": "info", "info": "info", "debug": "debug",
	}
}

func (s *session) logProperties(context.Context) (values.Properties, error) {
	level := "info"
	if s.opts.LogControl.Level != nil {
		level = s.opts.LogControl.Level()
	}
	switch level {
	case "warn":
		level = "warning"
	case "error":
		level = "err"
	}
	return values.Properties{"LogLevel": level, "LogTarget": s.opts.LogControl.Target, "SyslogIdentifier": "davitd"}, nil
}

// setLogProperty changes the level. What is asked of the target must be so
// already: standard error is what systemd made it.
func setLogProperty(c *call, name string, value godbus.Variant) error {
	if c.caller.UID != 0 {
		return refusal.New(refusal.NameAccessDenied, "the log is for root to change")
	}
	text, ok := value.Value().(string)
	if !ok {
		return refusal.InvalidArgs("%s must be of type s, not %s", name, value.Signature())
	}
	control := c.opts.LogControl
	if name == "LogTarget" {
		if text != control.Target {
			return refusal.New(refusal.NameNotSupported, "LogTarget is %s, and stays", control.Target)
		}
		return nil
	}
	level, ok := syslogLevels()[text]
	if !ok {
		return refusal.InvalidArgs("LogLevel %q is none of emerg, alert, crit, err, warning, notice, info, debug", text)
	}
	if control.SetLevel == nil {
		return refusal.New(refusal.NameNotSupported, "the log's level cannot be changed")
	}
	if err := control.SetLevel(level); err != nil {
		return davit.Errorf(davit.Failed, "cannot change the log's level: %w", err)
	}
	return nil
}
