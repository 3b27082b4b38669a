# Terraform: the locks, the shop and the function. From this folder:
#
#   cargo lambda build --release --arm64 --package doclock-lambda --output-format zip
#   terraform init
#   terraform apply -var payments_url=https://payments.example.com/payments

terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.32"
    }
  }
}

variable "payments_url" {
  type = string
}

variable "code" {
  type    = string
  default = "../../../target/lambda/doclock-lambda/bootstrap.zip"
}

resource "aws_dynamodb_table" "locks" {
  name         = "locks"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "pk"

  # With the table its fencing tokens would go, and start anew below what the data has seen.
  deletion_protection_enabled = true

  attribute {
    name = "pk"
    type = "S"
  }

  ttl {
    attribute_name = "purge_at"
    enabled        = true
  }
}

resource "aws_dynamodb_table" "shop" {
  name         = "shop"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "pk"

  deletion_protection_enabled = true

  attribute {
    name = "pk"
    type = "S"
  }
}

resource "aws_cloudwatch_log_group" "sell" {
  name              = "/aws/lambda/sell"
  retention_in_days = 30
}

data "aws_iam_policy_document" "lambda" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "sell" {
  statement {
    actions   = ["dynamodb:ConditionCheckItem", "dynamodb:GetItem", "dynamodb:UpdateItem"]
    resources = [aws_dynamodb_table.locks.arn]
  }
  statement {
    actions   = ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"]
    resources = [aws_dynamodb_table.shop.arn]
  }
  statement {
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.sell.arn}:*"]
  }
}

resource "aws_iam_role" "sell" {
  name               = "sell"
  assume_role_policy = data.aws_iam_policy_document.lambda.json
}

resource "aws_iam_role_policy" "sell" {
  role   = aws_iam_role.sell.id
  policy = data.aws_iam_policy_document.sell.json
}

resource "aws_lambda_function" "sell" {
  function_name    = "sell"
  role             = aws_iam_role.sell.arn
  filename         = var.code
  source_code_hash = filebase64sha256(var.code)
  handler          = "bootstrap"
  runtime          = "provided.al2023"
  architectures    = ["arm64"]
  memory_size      = 256

  # The lease has 3.5 s less: the function's reserve.
  timeout = 15

  environment {
    variables = {
      LOCKS_TABLE  = aws_dynamodb_table.locks.name
      SHOP_TABLE   = aws_dynamodb_table.shop.name
      PAYMENTS_URL = var.payments_url
    }
  }

  depends_on = [aws_cloudwatch_log_group.sell, aws_iam_role_policy.sell]
}

# Asynchronous invocations are tried again with the same request id, which is the owner of the lock.
resource "aws_lambda_function_event_invoke_config" "sell" {
  function_name          = aws_lambda_function.sell.function_name
  maximum_retry_attempts = 2
}
