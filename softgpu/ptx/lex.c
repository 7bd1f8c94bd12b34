/* SPDX-License-Identifier: MIT */
/* Text to tokens. A modifier or directive (".global", ".shared::cta") is one token, without its dot. */
#include <stdlib.h>
#include <string.h>

#include "softgpu/ptx/internal.h"

static bool name_begins(char ch)
{
	return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || ch == '_' || ch == '$' || ch == '%';
}

static bool digit(char ch)
{
	return ch >= '0' && ch <= '9';
}

static bool name_goes_on(char ch)
{
	return name_begins(ch) || digit(ch);
}

static int hex_digit(char ch)
{
	if (digit(ch))
		return ch - '0';
	if (ch >= 'a' && ch <= 'f')
		return ch - 'a' + 10;
	if (ch >= 'A' && ch <= 'F')
		return ch - 'A' + 10;
	return -1;
}

static void skip_blanks(struct compiler *c)
{
	while (c->at < c->end) {
		char ch = *c->at;

		if (ch == '\n') {
			c->line++;
			c->at++;
		} else if (ch == ' ' || ch == '\t' || ch == '\r' || ch == '\f' || ch == '\v') {
			c->at++;
		} else if (ch == '/' && c->end - c->at > 1 && c->at[1] == '/') {
			while (c->at < c->end && *c->at != '\n')
				c->at++;
		} else if (ch == '/' && c->end - c->at > 1 && c->at[1] == '*') {
			const char *close = memmem(c->at + 2, (size_t)(c->end - c->at - 2), "*/", 2);

			if (!close)
				ptx_fail(c, c->line, "a comment does not end");
			for (; c->at < close + 2; c->at++)
				c->line += *c->at == '\n';
		} else {
			break;
		}
	}
}

static uint64_t lex_digits(struct compiler *c, unsigned int base, unsigned int most)
{
	uint64_t number = 0;
	unsigned int count = 0;

	for (; c->at < c->end && count < most; count++) {
		int value = hex_digit(*c->at);

		if (value < 0 || (unsigned int)value >= base)
			break;
		if (number > (UINT64_MAX - (unsigned int)value) / base)
			ptx_fail(c, c->line, "a number is too large");
		number = number * base + (unsigned int)value;
		c->at++;
	}
	if (!count)
		ptx_fail(c, c->line, "a number has no digits");
	return number;
}

/* 1.5, 2e10: strtod needs a terminated copy. */
static bool lex_decimal_float(struct compiler *c, struct token *token)
{
	const char *at = c->at;
	bool fraction = false;
	char copy[64];
	double number;

	while (at < c->end && (digit(*at) || *at == '.' || *at == 'e' || *at == 'E' ||
			       ((*at == '+' || *at == '-') && at > c->at && (at[-1] == 'e' || at[-1] == 'E')))) {
		fraction |= !digit(*at);
		at++;
	}
	if (!fraction || (size_t)(at - c->at) >= sizeof(copy))
		return false;
	memcpy(copy, c->at, (size_t)(at - c->at));
	copy[at - c->at] = 0;
	number = strtod(copy, NULL);
	c->at = at;
	token->kind = TOKEN_FLOAT64;
	memcpy(&token->number, &number, sizeof(number));
	return true;
}

static void lex_number(struct compiler *c, struct token *token)
{
	char second = c->end - c->at > 1 ? c->at[1] : 0;

	token->kind = TOKEN_INT;
	if (*c->at == '0' && (second == 'f' || second == 'F' || second == 'd' || second == 'D')) {
		bool wide = second == 'd' || second == 'D';

		c->at += 2;
		token->kind = wide ? TOKEN_FLOAT64 : TOKEN_FLOAT32;
		token->number = lex_digits(c, 16, wide ? 16 : 8);
		return;
	}
	if (*c->at == '0' && (second == 'x' || second == 'X')) {
		c->at += 2;
		token->number = lex_digits(c, 16, 64);
	} else if (*c->at == '0' && (second == 'b' || second == 'B')) {
		c->at += 2;
		token->number = lex_digits(c, 2, 128);
	} else if (lex_decimal_float(c, token)) {
		return;
	} else {
		token->number = lex_digits(c, *c->at == '0' ? 8 : 10, 64);
	}
	if (c->at < c->end && *c->at == 'U')
		c->at++;
}

static void lex_name(struct compiler *c, struct token *token, bool dot)
{
	const char *begin = c->at;

	while (c->at < c->end) {
		if (name_goes_on(*c->at))
			c->at++;
		else if (dot && c->end - c->at > 2 && c->at[0] == ':' && c->at[1] == ':' &&
			 (name_begins(c->at[2]) || (c->at[2] >= '0' && c->at[2] <= '9')))
			c->at += 2;
		else
			break;
	}
	token->kind = dot ? TOKEN_DOT : TOKEN_NAME;
	token->text = (struct slice){ begin, (uint32_t)(c->at - begin) };
}

static void lex_string(struct compiler *c, struct token *token)
{
	const char *begin = ++c->at;

	while (c->at < c->end && *c->at != '"' && *c->at != '\n')
		c->at++;
	if (c->at == c->end || *c->at != '"')
		ptx_fail(c, c->line, "a string does not end");
	token->kind = TOKEN_STRING;
	token->text = (struct slice){ begin, (uint32_t)(c->at - begin) };
	c->at++;
}

static void lex(struct compiler *c, struct token *token)
{
	skip_blanks(c);
	*token = (struct token){ .line = c->line };
	if (c->at == c->end) {
		token->kind = TOKEN_END;
		return;
	}
	token->text = (struct slice){ c->at, 1 };
	if (name_begins(*c->at)) {
		lex_name(c, token, false);
	} else if (digit(*c->at)) {
		lex_number(c, token);
	} else if (*c->at == '.' && c->end - c->at > 1 && name_goes_on(c->at[1])) {
		c->at++;
		lex_name(c, token, true);
	} else if (*c->at == '"') {
		lex_string(c, token);
	} else {
		token->kind = TOKEN_CHAR;
		token->number = (unsigned char)*c->at++;
	}
}

void ptx_next(struct compiler *c)
{
	lex(c, &c->token);
}

bool ptx_is_char(struct compiler *c, char character)
{
	return c->token.kind == TOKEN_CHAR && c->token.number == (unsigned char)character;
}

bool ptx_take_char(struct compiler *c, char character)
{
	if (!ptx_is_char(c, character))
		return false;
	ptx_next(c);
	return true;
}

void ptx_need_char(struct compiler *c, char character)
{
	if (!ptx_take_char(c, character))
		ptx_fail(c, c->token.line, "'%c' expected before \"%.*s\"", character,
			 (int)(c->token.text.size > 40 ? 40 : c->token.text.size),
			 c->token.text.at ? c->token.text.at : "");
}

bool ptx_is_dot(struct compiler *c, const char *name)
{
	return c->token.kind == TOKEN_DOT && slice_is(c->token.text, name);
}

bool ptx_take_dot(struct compiler *c, const char *name)
{
	if (!ptx_is_dot(c, name))
		return false;
	ptx_next(c);
	return true;
}

struct slice ptx_need_name(struct compiler *c)
{
	struct slice name = c->token.text;

	if (c->token.kind != TOKEN_NAME)
		ptx_fail(c, c->token.line, "a name expected");
	ptx_next(c);
	return name;
}

uint64_t ptx_need_int(struct compiler *c)
{
	uint64_t number = c->token.number;

	if (c->token.kind != TOKEN_INT)
		ptx_fail(c, c->token.line, "a number expected");
	ptx_next(c);
	return number;
}

static const struct {
	const char *name;
	enum ptx_type type;
	uint32_t size;
} types[] = {
	{ "b8", T_B8, 1 },   { "b16", T_B16, 2 },	{ "b32", T_B32, 4 },	   { "b64", T_B64, 8 },
	{ "u8", T_U8, 1 },   { "u16", T_U16, 2 },	{ "u32", T_U32, 4 },	   { "u64", T_U64, 8 },
	{ "s8", T_S8, 1 },   { "s16", T_S16, 2 },	{ "s32", T_S32, 4 },	   { "s64", T_S64, 8 },
	{ "f16", T_F16, 2 }, { "bf16", T_BF16, 2 },	{ "f16x2", T_F16X2, 4 },   { "bf16x2", T_BF16X2, 4 },
	{ "f32", T_F32, 4 }, { "f64", T_F64, 8 },	{ "pred", T_PRED, 0 },
	{ "u16x2", T_U16X2, 4 }, { "s16x2", T_S16X2, 4 },
};

enum ptx_type ptx_type_named(struct slice name)
{
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (slice_is(name, types[i].name))
			return types[i].type;
	return T_NONE;
}

uint32_t ptx_type_size(enum ptx_type type)
{
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (types[i].type == type)
			return types[i].size;
	return 0;
}
