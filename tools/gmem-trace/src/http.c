// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The server of gmem-trace export: /metrics, read only, in the thread that does all else, by
 * libmicrohttpd. It runs when the loop finds its descriptor readable, and at each tick for its
 * timeouts.
 */
#include <netdb.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include <sys/socket.h>

#include <microhttpd.h>

#include "metrics.h"

#define METRICS_PATH		"/metrics"
#define MAX_CONNECTIONS		16U
#define TIMEOUT_S		10U
/* A client may keep its connection ready without an end; the loop has other things to do, too. */
#define MAX_RUNS		16

static struct MHD_Daemon *server;
static int listener = -1;
static text_fn make_text;

/* ---- Where ---- */

/* ADDRESS:PORT, [ADDRESS]:PORT; the parts are to be freed. */
static bool split_address(const char *address, char **host, char **port)
{
	const char *colon = strrchr(address, ':');
	size_t len = colon ? colon - address : 0;
	char *end;

	if (!len || !colon[1] || strtoul(colon + 1, &end, 10) > 65535 || *end ||
	    colon[1] < '0' || colon[1] > '9')
		return false;
	if (*address == '[') {
		if (len < 3 || address[len - 1] != ']')
			return false;
		address++;
		len -= 2;
	} else if (memchr(address, ':', len)) {
		return false;
	}
	*host = strndup(address, len);
	*port = strdup(colon + 1);
	return *host && *port;
}

bool http_address_valid(const char *address)
{
	char *host, *port;

	if (!split_address(address, &host, &port))
		return false;
	free(host);
	free(port);
	return true;
}

static int bind_to(const struct addrinfo *ai)
{
	int fd, err, on = 1;

	fd = socket(ai->ai_family, ai->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, ai->ai_protocol);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (!bind(fd, ai->ai_addr, ai->ai_addrlen))
		return fd;
	err = -errno;
	close(fd);
	return err;
}

/* Take the address, before anything else is done that takes time; nobody is answered yet. */
int http_open(const char *address)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
	struct addrinfo *found;
	char *host, *port;
	int err;

	split_address(address, &host, &port);
	err = getaddrinfo(host, port, &hints, &found);
	free(host);
	free(port);
	if (err)
		return fail(EINVAL, "--listen %s: %s", address, gai_strerror(err));
	listener = bind_to(found);
	freeaddrinfo(found);
	if (listener >= 0)
		return 0;
	fail(-listener, "cannot listen on %s: %s", address, strerror(-listener));
	if (listener == -EADDRINUSE)
		fail_hint("Does gmem-trace export run already? --listen takes another port.");
	return -1;
}

/* Where it is in fact: the port may have been left to the kernel. */
const char *http_url(void)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);
	char host[64], port[8];

	if (getsockname(listener, (struct sockaddr *)&addr, &len) ||
	    getnameinfo((struct sockaddr *)&addr, len, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV))
		return "?";
	return fmt(strchr(host, ':') ? "http://[%s]:%s%s" : "http://%s:%s%s", host, port,
		   METRICS_PATH);
}

/* ---- Which format ---- */

/* The value of a parameter ";NAME=" in a media range that ends at @end. */
static const char *parameter(const char *range, const char *end, const char *name)
{
	size_t len = strlen(name);
	const char *p;

	for (p = range; p < end; p++) {
		if (*p != ';')
			continue;
		do
			p++;
		while (*p == ' ');
		if (!strncasecmp(p, name, len) && p[len] == '=')
			return p + len + 1;
		p--;
	}
	return NULL;
}

static bool version_known(const char *version)
{
	return !version || !strncmp(version, "1.0.", 4) || !strncmp(version, "0.0.", 4);
}

/* How much is @type wanted? 0: not at all, or it is not named. */
static double quality(const char *accept, const char *type)
{
	size_t len = strlen(type);
	const char *range, *end, *q;
	double best = 0, value;

	for (range = accept; *range; range = *end ? end + 1 : end) {
		range += strspn(range, " \t");
		end = range + strcspn(range, ",");
		if (strncasecmp(range, type, len) || !strchr("; ,", range[len]) ||
		    !version_known(parameter(range, end, "version")))
			continue;
		q = parameter(range, end, "q");
		value = q ? strtod(q, NULL) : 1;
		if (value > best)
			best = value;
	}
	return best;
}

/* OpenMetrics is for those who name it, and do not name the other as the better one. */
bool http_wants_openmetrics(const char *accept)
{
	double q = accept ? quality(accept, "application/openmetrics-text") : 0;

	return q > 0 && q >= quality(accept, "text/plain");
}

/* ---- Serving ---- */

static enum MHD_Result answer(struct MHD_Connection *c, unsigned int status, const char *type,
			      char *text, size_t len, enum MHD_ResponseMemoryMode mode)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(len, text, mode);
	enum MHD_Result ret;

	if (!response) {
		if (mode == MHD_RESPMEM_MUST_FREE)
			free(text);
		return MHD_NO;
	}
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	ret = MHD_queue_response(c, status, response);
	MHD_destroy_response(response);
	return ret;
}

static enum MHD_Result refuse(struct MHD_Connection *c, unsigned int status, char *text)
{
	return answer(c, status, "text/plain; charset=utf-8", text, strlen(text),
		      MHD_RESPMEM_PERSISTENT);
}

static enum MHD_Result on_request(void *ctx __attribute__((unused)), struct MHD_Connection *c,
				  const char *url, const char *method,
				  const char *version __attribute__((unused)),
				  const char *upload __attribute__((unused)),
				  size_t *upload_size, void **state)
{
	const char *accept;
	bool openmetrics;
	size_t len;
	char *text;

	if (strcmp(url, METRICS_PATH))
		return refuse(c, MHD_HTTP_NOT_FOUND, "Metrics are at " METRICS_PATH ".\n");
	if (strcmp(method, MHD_HTTP_METHOD_GET) && strcmp(method, MHD_HTTP_METHOD_HEAD))
		return refuse(c, MHD_HTTP_METHOD_NOT_ALLOWED, "Metrics can be read only.\n");
	/* Only what is answered after all of the request has come leaves the connection open. */
	if (!*state || *upload_size) {
		*state = c;
		*upload_size = 0;
		return MHD_YES;
	}
	accept = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT);
	openmetrics = http_wants_openmetrics(accept);
	text = make_text(openmetrics, &len);
	if (!text)
		return refuse(c, MHD_HTTP_SERVICE_UNAVAILABLE, "Out of memory.\n");
	return answer(c, MHD_HTTP_OK, openmetrics ? openmetrics_type : classic_type, text, len,
		      MHD_RESPMEM_MUST_FREE);
}

int http_start(text_fn text)
{
	const union MHD_DaemonInfo *info;

	make_text = text;
	signal(SIGPIPE, SIG_IGN);
	if (listen(listener, MAX_CONNECTIONS))
		return fail(errno, "cannot listen on %s: %s", http_url(), strerror(errno));
	server = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_request, NULL,
				  MHD_OPTION_LISTEN_SOCKET, listener,
				  MHD_OPTION_CONNECTION_LIMIT, MAX_CONNECTIONS,
				  MHD_OPTION_CONNECTION_TIMEOUT, TIMEOUT_S, MHD_OPTION_END);
	info = server ? MHD_get_daemon_info(server, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
	if (!info)
		return fail(errno, "the HTTP server cannot be started");
	watch_fd(info->epoll_fd, http_run);
	return 0;
}

void http_run(void)
{
	MHD_UNSIGNED_LONG_LONG timeout;
	int i;

	for (i = 0; server && i < MAX_RUNS; i++) {
		MHD_run(server);
		if (MHD_get_timeout(server, &timeout) != MHD_YES || timeout)
			break;
	}
}

void http_close(void)
{
	if (server)
		MHD_stop_daemon(server);
	else if (listener >= 0)
		close(listener);
	server = NULL;
	listener = -1;
}
