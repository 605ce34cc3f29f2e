# config/database.yml with a test section that reads the variables of the service when Rails does.
(
	. "$WERCKER_STEP_ROOT/common.sh"

	# linked PORT: the prefix of the variables of a linked service that has that port, whatever its name.
	linked() {
		env | while IFS= read -r each; do
			case "$each" in
			(*"_PORT_$1_TCP_ADDR="*) printf '%s\n' "${each%%_PORT_$1_TCP_ADDR=*}" && break ;;
			esac
		done
	}
	postgres=POSTGRES mysql=MYSQL
	[ -n "${POSTGRES_PORT_5432_TCP_ADDR-}" ] || postgres="$(linked 5432)"
	[ -n "${MYSQL_PORT_3306_TCP_ADDR-}" ] || mysql="$(linked 3306)"

	service="$WERCKER_RAILS_DATABASE_YML_SERVICE"
	case "$service" in
	(postgresql) [ -n "$postgres" ] && service=postgresql-docker || service=postgresql-legacy ;;
	(mysql) [ -n "$mysql" ] && service=mysql-docker || service=mysql-legacy ;;
	(postgresql-docker | postgresql-legacy | postgresql-local | mysql-docker | mysql-legacy) ;;
	('')
		if [ -n "$postgres" ]; then
			service=postgresql-docker
		elif [ -n "$mysql" ]; then
			service=mysql-docker
		elif [ -n "${WERCKER_POSTGRESQL_HOST-}${WERCKER_POSTGRESQL_DATABASE-}" ] && [ -z "${WERCKER_MYSQL_HOST-}" ]; then
			service=postgresql-legacy
		elif [ -n "${WERCKER_POSTGRESQL_HOST-}" ]; then
			service=postgresql-legacy
		elif [ -n "${WERCKER_MYSQL_HOST-}" ]; then
			service=mysql-legacy
		else
			fail "there is no database to connect to. Add postgres or mysql under services:, or set the option service"
		fi
		;;
	(*) fail "service is '$service': write postgresql or mysql, or either with -docker or -legacy" ;;
	esac

	# value NAME…: ERB that reads the first of the variables that is set.
	value() {
		text=
		for each in "$@"; do
			text="$text${text:+ || }ENV['$each']"
		done
		printf '<%%= %s %%>' "$text"
	}
	case "$service" in
	(postgresql-docker)
		postgres="${postgres:-POSTGRES}"
		adapter=postgresql
		database="<%= ENV['${postgres}_ENV_POSTGRES_DB'] || ENV['${postgres}_ENV_POSTGRES_USER'] || 'postgres' %>"
		username="<%= ENV['${postgres}_ENV_POSTGRES_USER'] || 'postgres' %>"
		password="$(value "${postgres}_ENV_POSTGRES_PASSWORD")"
		host="$(value "${postgres}_PORT_5432_TCP_ADDR")"
		port="$(value "${postgres}_PORT_5432_TCP_PORT")"
		;;
	(postgresql-legacy | postgresql-local)
		adapter="<%= ENV['WERCKER_POSTGRESQL_ADAPTER'] || 'postgresql' %>"
		database="$(value WERCKER_POSTGRESQL_DATABASE)"
		username="$(value WERCKER_POSTGRESQL_USERNAME)"
		password="$(value WERCKER_POSTGRESQL_PASSWORD)"
		host="$(value WERCKER_POSTGRESQL_HOST)"
		port="$(value WERCKER_POSTGRESQL_PORT)"
		;;
	(mysql-docker)
		mysql="${mysql:-MYSQL}"
		adapter=mysql2
		database="$(value "${mysql}_ENV_MYSQL_DATABASE")"
		username="<%= ENV['${mysql}_ENV_MYSQL_USER'] || 'root' %>"
		password="$(value "${mysql}_ENV_MYSQL_PASSWORD" "${mysql}_ENV_MYSQL_ROOT_PASSWORD")"
		host="$(value "${mysql}_PORT_3306_TCP_ADDR")"
		port="$(value "${mysql}_PORT_3306_TCP_PORT")"
		;;
	(mysql-legacy)
		adapter=mysql2
		database="$(value WERCKER_MYSQL_DATABASE)"
		username="$(value WERCKER_MYSQL_USERNAME)"
		password="$(value WERCKER_MYSQL_PASSWORD)"
		host="$(value WERCKER_MYSQL_HOST)"
		port="$(value WERCKER_MYSQL_PORT)"
		;;
	esac
	mkdir -p config || fail "cannot make the directory config"
	{
		cat <<-END
			test:
			  adapter: $adapter
			  encoding: utf8
			  database: $database<%= ENV['TEST_ENV_NUMBER'] %>
			  username: $username
			  password: $password
			  host: $host
			  port: $port
		END
		case "$service" in
		(postgresql*) printf '  min_messages: %s\n' "$WERCKER_RAILS_DATABASE_YML_POSTGRESQL_MIN_MESSAGE" ;;
		esac
	} >config/database.yml || fail "cannot write config/database.yml"
	info "config/database.yml for $service:"
	cat config/database.yml
)
