#!/bin/bash
# sudo is for the machines of old; in a box it is an alias for nothing.

if [[ ! -f "$WERCKER_INSTALL_PROGRAM_SCRIPT" ]]; then
  fail "there is no $WERCKER_INSTALL_PROGRAM_SCRIPT"
fi

sudo mkdir -p "$WERCKER_INSTALL_PROGRAM_INTO"
sudo cp "$WERCKER_INSTALL_PROGRAM_SCRIPT" "$WERCKER_INSTALL_PROGRAM_INTO/$WERCKER_INSTALL_PROGRAM_PROGRAM"
if sudo chmod 755 "$WERCKER_INSTALL_PROGRAM_INTO/$WERCKER_INSTALL_PROGRAM_PROGRAM"; then
  success "installed $WERCKER_INSTALL_PROGRAM_PROGRAM"
else
  fail "cannot install $WERCKER_INSTALL_PROGRAM_PROGRAM"
fi
