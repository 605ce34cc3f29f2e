# pip install of a requirements file and a list, of wheels that are built first where virtualenv prepared for them.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	pip="${WERCKER_PIP_INSTALL_PIP_COMMAND:-pip}"
	need "${pip%% *}" "Use a box with Python and pip, for example python:3.12"
	requirements="$WERCKER_PIP_INSTALL_REQUIREMENTS_FILE"
	if [ -n "$requirements" ] && [ ! -f "$requirements" ]; then
		fail "$requirements does not exist in $PWD. Set requirements_file, or set it to \"\" to install packages_list alone"
	fi
	if [ -z "$requirements$WERCKER_PIP_INSTALL_PACKAGES_LIST" ]; then
		fail "nothing to install: set requirements_file or packages_list"
	fi
	# install_wanted ARGUMENT…: pip with the arguments, the file and the packages.
	with_wanted() {
		$pip "$@" ${requirements:+-r "$requirements"} $WERCKER_PIP_INSTALL_PACKAGES_LIST
	}
	if is_true "$WERCKER_PIP_INSTALL_CLEANUP_WHEEL_DIR" || is_true "$WERCKER_PIP_INSTALL_CLEANUP_WHEEL_CACHE" ||
		is_true "$WERCKER_PIP_INSTALL_CLEAN_WHEEL_DIR"; then
		[ -z "${PIP_WHEEL_DIR-}" ] || rm -rf "${PIP_WHEEL_DIR:?}"/*
	fi
	if is_true "${PIP_USE_WHEEL-}" && is_true "$WERCKER_PIP_INSTALL_AUTO_RUN_WHEEL"; then
		with_wanted wheel $WERCKER_PIP_INSTALL_EXTRA_WHEEL_ARGS || fail "pip wheel failed"
	fi
	with_wanted install $WERCKER_PIP_INSTALL_EXTRA_ARGS || fail "pip install failed"
)
