# mvn, of the box or the operator.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	[ -n "$WERCKER_MAVEN_GOALS" ] || fail "goals is missing: write them, for example goals: clean package"
	[ -n "${JAVA_HOME-}" ] || have java || fail "this box has no Java. Use a box that has it, for example maven:3-eclipse-temurin-17"
	provide mvn ${WERCKER_MAVEN_VERSION:+"$WERCKER_MAVEN_VERSION"}
	set -- --batch-mode
	! is_true "$WERCKER_MAVEN_DEBUG" || set -- "$@" -X
	[ -z "$WERCKER_MAVEN_SETTINGS" ] || set -- "$@" "--settings=$WERCKER_MAVEN_SETTINGS"
	[ -z "$WERCKER_MAVEN_SECURITY_SETTINGS" ] || set -- "$@" "-Dsettings.security=$WERCKER_MAVEN_SECURITY_SETTINGS"
	[ -z "$WERCKER_MAVEN_PROFILES" ] || set -- "$@" "-P$WERCKER_MAVEN_PROFILES"
	[ -z "$WERCKER_MAVEN_POM" ] || set -- "$@" "--file=$WERCKER_MAVEN_POM"
	! is_true "$WERCKER_MAVEN_CACHE_REPO" || set -- "$@" "-Dmaven.repo.local=$WERCKER_CACHE_DIR/.m2"
	[ -z "$WERCKER_MAVEN_MAVEN_OPTS" ] || export MAVEN_OPTS="$WERCKER_MAVEN_MAVEN_OPTS"
	"$tool" "$@" $WERCKER_MAVEN_GOALS
) && if [ -n "$WERCKER_MAVEN_MAVEN_OPTS" ]; then
	export MAVEN_OPTS="$WERCKER_MAVEN_MAVEN_OPTS"
fi
